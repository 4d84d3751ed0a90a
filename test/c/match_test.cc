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

// Functions of C whose counterpart in C++ has another name, or is no function.
const std::map<std::string, std::string>& Renamed() {
  static const std::map<std::string, std::string> renamed = {
      // Overloaded in C++.
      {"attention_cache", "attention"},
      {"attention_paged", "attention"},
      {"dtype_name", "name_of"},
      {"family_name", "name_of"},
      {"matmul_packed", "matmul"},
      {"merge_attention_results", "merge_attention"},
      {"region_attention_cache", "Region_attention"},
      {"region_attention_paged", "Region_attention"},
      {"region_matmul_packed", "Region_matmul"},
      {"status_name", "name_of"},
      // There it is the argument's name that says of what.
      {"dtype_size", "size_of"},
      {"family_of", "family"},
      // What C writes to a struct, C++ returns.
      {"kv_cache_get_config", "KvCache_config"},
      {"multi_head_attention_get_config", "MultiHeadAttention_config"},
      {"paged_kv_cache_get_config", "PagedKvCache_config"},
      {"kv_cache_create_without_data", "KvCache_without_data"},
      // Constructors; whether one has failed is what status() says.
      {"context_create", "Context_status"},
      {"tensor_contiguous", "TensorView"},
      {"tensor_strided", "TensorView"},
      {"tensor_num_elements", "TensorView_num_elements"},
      {"tensor_slice", "TensorView_slice"},
      {"tensor_transpose", "TensorView_transpose"},
  };
  return renamed;
}

// What C does without: it looks at a struct's fields.
const Names& OfCppAlone() {
  static const Names names = {"TensorView", "TensorView_absent"};
  return names;
}

// Of classes, and of TensorView, the public ones, with the class's name before them.
Names FunctionsOfCpp() {
  const std::string code = Code(HeadersOfCpp());
  Names functions = {"TensorView", "TensorView"};  // its constructors, without steps and with
  for (const Match& found :
       Matches(code, std::regex("\n(?:HEED_API )?(?:const )?[\\w:<>]+[ *&]+(\\w+)\\("))) {
    functions.push_back(found[1]);
  }
  for (const char* head : {"\nclass (?:HEED_API )?(\\w+) \\{", "\nstruct HEED_API (\\w+) \\{"}) {
    for (const auto& [name, body] : Bodies(code, std::regex(head))) {
      const std::string members = body.substr(0, body.find("\n private:"));
      for (const Match& found :
           Matches(members,
                   std::regex(
                       "\n  (?:HEED_INLINE )?(?:static )?(?:const )?[\\w:<>]+[ *&]+(\\w+)\\("))) {
        if (found[1] != name) functions.push_back(name + "_" + found[1]);
      }
    }
  }
  return functions;
}

Names FunctionsOfC() {
  Names functions;
  for (const Match& found :
       Matches(Code(HeadersOfC()), std::regex("\nHEED_API [\\w* \n]+?\\bheed_(\\w+)\\("))) {
    functions.push_back(found[1]);
  }
  return functions;
}

// That of a function of C; empty where C++ needs none: a struct's defaults are its initializers,
// and what is made ends with its name.
std::string NameInCpp(const std::string& function) {
  const auto ends_with = [&](const std::string& end) {
    return function.size() > end.size() &&
           function.compare(function.size() - end.size(), end.size(), end) == 0;
  };
  const std::string code = Code(HeadersOfCpp());
  for (const auto& [end, head] :
       {std::pair<std::string, const char*>{"_init", "\nstruct (\\w+) \\{"},
        {"_destroy", "\nclass HEED_API (\\w+) \\{"}}) {
    if (!ends_with(end)) continue;
    for (const Match& found : Matches(code, std::regex(head))) {
      if (Plain(found[1] + end) == Plain(function)) return "";
    }
  }
  const auto renamed = Renamed().find(function);
  return renamed == Renamed().end() ? function : renamed->second;
}

TEST_CASE("functions of C and of C++ are the same") {
  const Names c = FunctionsOfC(), cpp = FunctionsOfCpp();
  CHECK(c.size() > 100);
  CHECK(cpp.size() > 80);
  std::map<std::string, size_t> has, wanted;  // overloads
  for (const std::string& name : cpp) ++has[Plain(name)];
  for (const std::string& name : c) {
    INFO("a function of C: " << name);
    const std::string of_cpp = NameInCpp(name);
    if (of_cpp.empty()) continue;
    CHECK(++wanted[Plain(of_cpp)] <= has[Plain(of_cpp)]);
  }
  for (const std::string& name : OfCppAlone()) {
    INFO("not a function of C++ any more: " << name);
    CHECK(has[Plain(name)] >= 1);
    ++wanted[Plain(name)];
  }
  for (const std::string& name : cpp) {
    INFO("a function of C++: " << name);
    CHECK(wanted.count(Plain(name)) == 1);
  }
  for (const auto& entry : Renamed()) {
    INFO("not a function of C any more: " << entry.first);
    CHECK(std::count(c.begin(), c.end(), entry.first) == 1);
  }
}

}  // namespace
}  // namespace heed::test
