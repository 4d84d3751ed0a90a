// heed show: the attention weights of a layer and head as a picture, or what storing the layer's
// weights in fewer bits costs.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <utility>

#include "tools/attention_map.h"
#include "tools/command.h"
#include "tools/file.h"
#include "tools/show_errors.h"
#include "tools/text.h"
#include "tools/utf8.h"

namespace heed::tools {
namespace {

constexpr size_t kMostTokens = 512;  // more cells than that nobody can tell apart

struct ShowArguments {
  LayerArguments layer;
  size_t head = 0;
  std::string labels;
  std::string text;
  std::string svg;
  bool errors = false;
};

Result<std::vector<std::string>> labels_from_file(const std::string& path) {
  constexpr size_t kLargest = 16 << 20;
  const Result<std::string> text = read_text(path, kLargest);
  if (!text.ok()) return text.status();
  const Result<nlohmann::json> json = parse_json(*text, path);
  if (!json.ok()) return json.status();
  const auto is_string = [](const nlohmann::json& label) { return label.is_string(); };
  if (!json->is_array() || !std::all_of(json->begin(), json->end(), is_string)) {
    return refuse(path, "labels must be a JSON array of strings");
  }
  return json->get<std::vector<std::string>>();
}

// The text's characters, or its words when there are as many as tokens.
std::vector<std::string> labels_from_text(const std::string& text, size_t tokens) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  std::vector<std::string> characters = split_characters(text);
  return characters.size() != tokens && words.size() == tokens ? words : characters;
}

Result<std::vector<std::string>> make_labels(const ShowArguments& arguments, size_t tokens) {
  std::vector<std::string> labels;
  std::string source = "--text";
  if (!arguments.labels.empty()) {
    Result<std::vector<std::string>> read = labels_from_file(arguments.labels);
    if (!read.ok()) return read.status();
    labels = std::move(*read);
    source = arguments.labels;
  } else if (!arguments.text.empty()) {
    labels = labels_from_text(arguments.text, tokens);
  } else {
    for (size_t i = 0; i < tokens; ++i) labels.push_back(std::to_string(i));
  }
  if (labels.size() == tokens) return labels;
  return refuse(source, "it gives " + std::to_string(labels.size()) +
                            " labels, and the input has " + std::to_string(tokens) + " tokens");
}

Status check_size(const LoadedLayer& loaded, const ShowArguments& arguments) {
  const size_t heads = loaded.config.attention.num_heads;
  if (arguments.head >= heads) {
    return refuse("--head", "there is no head " + std::to_string(arguments.head) +
                                ": the layer has " + std::to_string(heads) + ", counted from 0");
  }
  const Input& input = loaded.input;
  if (input.batch != 1 || input.seq == 0 || input.seq > kMostTokens) {
    return refuse(arguments.layer.input, "the input is " + shape_text(input.shape) +
                                             ", and a picture needs one sequence of 1 to " +
                                             std::to_string(kMostTokens) + " tokens");
  }
  return Status();
}

// The weights of one head, [seq, seq].
Result<std::vector<float>> head_weights(const LoadedLayer& loaded, const ShowArguments& arguments) {
  const size_t seq = loaded.input.seq, heads = loaded.config.attention.num_heads;
  std::vector<float> weights(heads * seq * seq);
  ForwardOptions options;
  options.weights = MutableTensorView(weights.data(), {1, heads, seq, seq});
  const Result<std::vector<float>> y = forward(loaded, arguments.layer, options);
  if (!y.ok()) return y.status();
  const auto begin = weights.begin() + static_cast<ptrdiff_t>(arguments.head * seq * seq);
  return std::vector<float>(begin, begin + static_cast<ptrdiff_t>(seq * seq));
}

// Colours only where someone looks, and has not asked for none (no-color.org).
bool use_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

int show(const ShowArguments& arguments) {
  if (arguments.errors) return show_errors(arguments.layer, arguments.svg);
  const Result<LoadedLayer> loaded =
      load(arguments.layer, {"--svg", arguments.svg, {arguments.labels}});
  if (!loaded.ok()) return refused(loaded.status());
  if (const Status s = check_size(*loaded, arguments); !s.ok()) return refused(s);
  const size_t seq = loaded->input.seq;
  const Result<std::vector<std::string>> labels = make_labels(arguments, seq);
  if (!labels.ok()) return refused(labels.status());
  const Result<std::vector<float>> weights = head_weights(*loaded, arguments);
  if (!weights.ok()) return refused(weights.status());
  const std::string title = "Attention of layer " + std::to_string(arguments.layer.layer) +
                            ", head " + std::to_string(arguments.head);
  if (!arguments.svg.empty()) {
    const std::string svg = attention_map_svg(weights->data(), seq, seq, *labels, *labels, title);
    if (const Status s = write_file(arguments.svg, {svg}); !s.ok()) return refused(s);
  }
  const std::string text =
      attention_map_text(weights->data(), seq, seq, *labels, *labels, title, use_colour());
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kDone;
}

}  // namespace

Action add_show(CLI::App* app) {
  CLI::App* command = app->add_subcommand(
      "show", "the attention weights of a head as a picture, or what storing weights costs");
  const auto arguments = std::make_shared<ShowArguments>();
  arguments->layer.add_to(command);
  command->add_option("--head", arguments->head, "number of the query head, from 0")
      ->check(CLI::Range(0, 1 << 20));
  CLI::Option* labels =
      command->add_option("--labels", arguments->labels, "JSON array with a string for each token");
  command
      ->add_option("--text", arguments->text, "the input's text: a token is a character or a word")
      ->excludes(labels);
  command->add_option("--svg", arguments->svg, "SVG file to write");
  CLI::Option* errors = command->add_flag(
      "--errors", arguments->errors,
      "instead: how far each projection's weights move in each type they can be stored in");
  for (const char* other :
       {"--input", "--tensor", "--head", "--labels", "--text", "--weights-dtype", "--weights-group",
        "--compute", "--keys", "--values", "--attention-compute", "--hadamard"}) {
    errors->excludes(command->get_option(other));
  }
  command->final_callback([command, errors] {
    for (const char* name : {"--input", "--head"}) {
      if (errors->empty() && command->get_option(name)->empty()) throw CLI::RequiredError(name);
    }
  });
  return [arguments] { return show(*arguments); };
}

}  // namespace heed::tools
