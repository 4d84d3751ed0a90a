// What the keys of a configuration mean to attention.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/checkpoint/config_reader.h"
#include "tools/checkpoint/model_family.h"

namespace heed::tools {

// Every key that is set is one that this family reads, or one known to change nothing of what
// attention computes; all others are refused by name, whatever their value: false may ask for as
// much as true. Null is as good as missing.
void refuse_unknown(const nlohmann::json& config, const Family& family, ConfigReader* reader);

// The same for what stands around the text_config of a model that also sees: no setting of
// attention is read from there.
void refuse_unknown_around(const nlohmann::json& config, const Family& family,
                           ConfigReader* reader);

}  // namespace heed::tools
