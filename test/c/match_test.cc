// What one interface has the other has: options in the same order, constants with the same values,
// functions. Read off the headers, so that nothing that is added to one of them is forgotten.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "test/c/header_text.h"
#include "test/headers.h"

namespace heed::test {
namespace {

using Names = std::vector<std::string>;

// kBottomRight and BOTTOM_RIGHT, KvCacheConfig and kv_cache_config: the same without case and
// underscores.
std::string Plain(const std::string& name) {
  std::string plain;
  for (char c : name) {
    if (c != '_') plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain;
}

std::map<std::string, Names> StructsOf(const std::string& text, const std::regex& head) {
  std::map<std::string, Names> structs;
  for (const auto& [name, body] : Bodies(text, head)) structs[Plain(name)] = FieldsOf(body);
  return structs;
}

std::map<std::string, Names> StructsOfC() {
  auto structs = StructsOf(Code(HeadersOfC()), std::regex("\ntypedef struct heed_(\\w+) \\{"));
  for (auto& [name, fields] : structs) {
    fields.erase(std::remove_if(fields.begin(), fields.end(),
                                [](const std::string& field) {
                                  return field == "struct_size" || field.rfind("has_", 0) == 0;
                                }),
                 fields.end());
  }
  // Their counterparts are TensorView, whose layout src/c/call.cc compares, Status, and a class.
  REQUIRE(structs.erase("tensor") == 1);
  REQUIRE(structs.erase("error") == 1);
  REQUIRE(structs.erase("region") == 1);
  return structs;
}

std::map<std::string, Names> StructsOfCpp() {
  auto structs = StructsOf(Code(HeadersOfCpp()), std::regex("\nstruct (?:HEED_API )?(\\w+) \\{"));
  for (const char* name : {"f16", "bf16", "tensorview"}) REQUIRE(structs.erase(name) == 1);
  return structs;
}

TEST_CASE("structs of C and of C++ have the same fields in the same order") {
  const auto c = StructsOfC(), cpp = StructsOfCpp();
  CHECK(c.at("attentionoptions").size() > 20);
  CHECK(c.at("contextoptions").size() > 4);
  for (const auto& entry : c) {
    const auto& name = entry.first;
    const auto& fields = entry.second;
    INFO("a struct of C: " << name);
    REQUIRE(cpp.count(name) == 1);
    CHECK(fields == cpp.at(name));
  }
  for (const auto& entry : cpp) {
    const auto& name = entry.first;
    INFO("a struct of C++: " << name);
    CHECK(c.count(name) == 1);
  }
}

// Enumerators and constants by name, without the HEED_ of C.
std::map<std::string, long> ConstantsOfC() {
  const std::string code = Code(HeadersOfC());
  std::map<std::string, long> constants;
  for (const Match& found : Matches(code, std::regex("\\bHEED_(\\w+) = (-?\\d+)"))) {
    constants[Plain(found[1])] = std::stol(found[2]);
  }
  return constants;
}

std::map<std::string, long> ConstantsOfCpp() {
  const std::string code = Code(HeadersOfCpp());
  std::map<std::string, long> constants;
  for (const Match& found :
       Matches(code, std::regex("\ninline constexpr \\w+ k(\\w+) = (\\d+);"))) {
    constants[Plain(found[1])] = std::stol(found[2]);
  }
  for (auto [name, body] : Bodies(code, std::regex("\nenum class (\\w+) : int32_t \\{"))) {
    if (name == "StatusCode") name.clear();
    long next = 0;
    for (const Match& found : Matches(body, std::regex("\\bk(\\w+)(?: = (\\d+))?"))) {
      if (!found[2].empty()) next = std::stol(found[2]);
      constants[Plain(name + found[1])] = next++;
    }
  }
  return constants;
}

TEST_CASE("constants of C and of C++ have the same values") {
  const auto c = ConstantsOfC();
  CHECK(c.at("dtypeint4") == 6);
  CHECK(c.size() > 30);
  CHECK(c == ConstantsOfCpp());
  // Other enums would have another size than C's.
  const std::string code = Code(HeadersOfCpp());
  CHECK(Matches(code, std::regex("\nenum class")).size() ==
        Matches(code, std::regex("\nenum class \\w+ : int32_t \\{")).size());
}

// Functions of C++ that C has under another name, or does not need.
const std::map<std::string, std::string>& Renamed() {
  static const std::map<std::string, std::string> renamed = {
      {"size_of", "dtype_size"},
      {"name_of", "dtype_name"},
      {"family", "family_of"},
      {"Context_status", "context_create"},
      {"KvCache_config", "kv_cache_get_config"},
      {"KvCache_without_data", "kv_cache_create_without_data"},
      {"PagedKvCache_config", "paged_kv_cache_get_config"},
      {"MultiHeadAttention_config", "multi_head_attention_get_config"},
  };
  return renamed;
}

// Of classes the public ones, with the class's name before them.
Names FunctionsOfCpp() {
  const std::string code = Code(HeadersOfCpp());
  Names functions;
  for (const Match& found : Matches(code, std::regex("\n(?:HEED_API )?[\\w:<>]+[ *&]+(\\w+)\\("))) {
    functions.push_back(found[1]);
  }
  for (const auto& [name, body] : Bodies(code, std::regex("\nclass (?:HEED_API )?(\\w+) \\{"))) {
    const std::string members = body.substr(0, body.find("\n private:"));
    for (const Match& found :
         Matches(members, std::regex("\n  (?:static )?(?:const )?[\\w:<>]+[ *&]+(\\w+)\\("))) {
      if (found[1] != name) functions.push_back(name + "_" + found[1]);
    }
  }
  return functions;
}

TEST_CASE("C has every function of C++") {
  const std::string c = Code(HeadersOfC());
  std::map<std::string, bool> has;
  for (const Match& found : Matches(c, std::regex("\\bheed_(\\w+)\\(")))
    has[Plain(found[1])] = true;
  const Names functions = FunctionsOfCpp();
  CHECK(functions.size() > 60);
  for (const std::string& name : functions) {
    INFO("a function of C++: " << name);
    const auto renamed = Renamed().find(name);
    CHECK(has.count(Plain(renamed == Renamed().end() ? name : renamed->second)) == 1);
  }
}

}  // namespace
}  // namespace heed::test
