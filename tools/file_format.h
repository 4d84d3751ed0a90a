// Files of other formats than the one that was expected.
#pragma once

#include <string>
#include <string_view>

namespace heed::tools {

// What a file is that begins like this, for a message: "a GGUF file"; empty when it is none of
// those that people mistake for safetensors or JSON. Bytes that begin a good file may look like one
// of them, so this is asked after the file was found to be bad.
std::string other_format(std::string_view bytes);

}  // namespace heed::tools
