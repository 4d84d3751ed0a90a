#include "bench/compare.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <regex>

#include "bench/report/page.h"
#include "bench/settings.h"
#include "bench/table.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::bench {
namespace {

constexpr int kRefused = 2;
constexpr size_t kMaxBytes = size_t{1} << 28;

int refuse(const std::string& sentence) {
  std::fprintf(stderr, "heed-bench: %s\n", sentence.c_str());
  return kRefused;
}

std::string letter(size_t file) { return std::string(1, static_cast<char>('A' + file)); }

struct Arguments {
  std::vector<std::string> paths;
  std::string html, filter;
};

std::string check_filter(const std::string& value) {
  try {
    const std::regex regex(value, std::regex::extended);
    return "";
  } catch (const std::regex_error&) {
    return "\"" + value + "\" is not a regular expression";
  }
}

// 0 to go on, else the exit code plus one.
int parse(int argc, char** argv, Arguments* arguments) {
  CLI::App app("Results of several runs side by side.", "heed-bench compare");
  app.add_option("files", arguments->paths,
                 "2 to 16 files that --benchmark_out wrote; the first is what the others are "
                 "compared with")
      ->required();
  app.add_option("--html", arguments->html, "write a page with pictures and tables to this file")
      ->check(check_writable);
  app.add_option("--benchmark_filter", arguments->filter,
                 "only names that match this regular expression")
      ->check(check_filter);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 1;
  } catch (const CLI::ParseError& error) {
    return 1 + refuse(std::string(error.what()) + "; see heed-bench compare --help");
  }
  if (arguments->paths.size() < 2) return 1 + refuse("compare needs two files or more");
  if (arguments->paths.size() > 16) return 1 + refuse("compare takes 16 files at most");
  return 0;
}

Result<nlohmann::json> read_file(const std::string& path, const std::regex& filter) {
  const Result<std::string> text = tools::read_text(path, kMaxBytes);
  if (!text.ok()) return text.status();
  Result<nlohmann::json> document = tools::parse_json(*text, path);
  if (!document.ok()) return document.status();
  if (!document->is_object() || !document->contains("context") ||
      !(*document)["benchmarks"].is_array()) {
    return tools::refuse(path, "not a file that --benchmark_out=FILE writes as JSON");
  }
  nlohmann::json kept = nlohmann::json::array();
  for (nlohmann::json& row : (*document)["benchmarks"]) {
    const auto name = row.find("run_name");
    if (name != row.end() && name->is_string() &&
        std::regex_search(name->get<std::string>(), filter)) {
      kept.push_back(std::move(row));
    }
  }
  (*document)["benchmarks"] = std::move(kept);
  return document;
}

std::string about(const Results& results) {
  std::string text =
      "heed " + results.heed + ", " + results.cpu + ", " + results.target + ", " + results.compiler;
  if (results.limits.empty()) return text;
  const Limits& limits = results.limits.back();
  return text + "; " + std::to_string(limits.threads) + " thr: peak " +
         rate_text(Bound::kFlops, limits.flops) + ", memory " +
         rate_text(Bound::kMemory, limit_of(limits, Bound::kMemory));
}

// How far the repetitions are from the best, as a factor.
double spread(const Row& row) { return row.median / row.best; }

double factor(double a, double b) { return std::max(a / b, b / a); }

// What one binary's best times differ by from run to run, as a factor: either may have missed the
// best by its spread, and the machine was as different as the limit that both measured in turn.
double noise(const Row& a, const Row& b, bool same_machine) {
  // Where memory lies is another in each run.
  constexpr double kAnotherRun = 1.03;
  const bool same_limit =
      same_machine && a.label.bound == b.label.bound && a.limit > 0 && b.limit > 0;
  return kAnotherRun * spread(a) * spread(b) * (same_limit ? factor(a.limit, b.limit) : 1);
}

// "1.20x", "1.03x ~": the tilde where that is noise.
std::string speed_text(const Row* first, const Row& row, bool same_machine) {
  if (first == nullptr || first->best <= 0) return "-";
  const double speed = first->best / row.best;
  char text[32];
  std::snprintf(text, sizeof(text), speed < 9.995 ? "%.2fx" : "%.3gx", speed);
  const bool within = factor(first->best, row.best) <= noise(*first, row, same_machine);
  return std::string(text) + (within ? " ~" : "  ");
}

void add_cells(const std::vector<const Row*>& rows, size_t file, bool same_machine,
               std::vector<std::string>* line) {
  const Row* row = rows[file];
  if (row == nullptr || row->best <= 0) {
    line->push_back(row == nullptr ? "missing" : row->error.empty() ? "not timed" : "failed");
    if (file > 0) line->push_back("-");
    line->push_back("-");
    return;
  }
  char share[32];
  std::snprintf(share, sizeof(share), "%.2f", row->share());
  line->push_back(duration_text(row->best));
  if (file > 0) line->push_back(speed_text(rows[0], *row, same_machine));
  line->push_back(row->share() > 0 ? share : "-");
}

}  // namespace

std::string comparison_text(const std::vector<Results>& files) {
  std::vector<std::string> names;
  std::map<std::string, std::vector<const Row*>> rows;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const Row& row : files[i].rows) {
      const auto [place, is_new] = rows.try_emplace(row.name, files.size(), nullptr);
      if (is_new) names.push_back(row.name);
      place->second[i] = &row;
    }
  }
  std::string text;
  std::vector<std::vector<std::string>> lines(1, {"benchmark"});
  for (size_t i = 0; i < files.size(); ++i) {
    text += letter(i) + "  " + about(files[i]) + "\n";
    lines[0].push_back(letter(i) + " best");
    if (i > 0) lines[0].push_back(letter(i) + " speed");
    lines[0].push_back(letter(i) + " share");
  }
  for (const std::string& name : names) {
    lines.push_back({name});
    for (size_t i = 0; i < files.size(); ++i) {
      const bool same = files[i].cpu == files[0].cpu && files[i].target == files[0].target;
      add_cells(rows[name], i, same, &lines.back());
    }
  }
  return text +
         "\nBest times; speed: how many times as fast as A. ~ marks what may be noise: less than\n"
         "1.03 times the median over the best of both runs, times the change of the limit that\n"
         "both measured on one processor. Shares are of the limit that binds.\n\n" +
         aligned(lines);
}

int compare_main(int argc, char** argv) {
  Arguments arguments;
  if (const int code = parse(argc, argv, &arguments); code != 0) return code - 1;
  const std::regex filter(arguments.filter.empty() ? "." : arguments.filter, std::regex::extended);
  std::vector<Results> files;
  nlohmann::json pages = nlohmann::json::array();
  bool any = false;
  for (const std::string& path : arguments.paths) {
    Result<nlohmann::json> document = read_file(path, filter);
    if (!document.ok()) return refuse(document.status().message());
    Result<Results> read = results_from_json(*document);
    if (!read.ok()) return refuse(path + ": " + read.status().message());
    any = any || !read->rows.empty();
    files.push_back(std::move(*read));
    pages.push_back({{"name", std::filesystem::path(path).stem().string()},
                     {"results", without_repetitions(std::move(*document))}});
  }
  if (!any) return refuse("nothing to compare: no name in these files matches");
  if (!arguments.html.empty()) {
    const Status written = tools::write_file(arguments.html, {report_page(pages.dump())});
    if (!written.ok()) return refuse(written.message());
  }
  std::fputs(comparison_text(files).c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : refuse("cannot write to standard output");
}

}  // namespace heed::bench
