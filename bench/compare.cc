#include "bench/compare.h"

#include <regex.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "bench/results_json.h"
#include "bench/results_text.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::bench {
namespace {

constexpr int kRefused = 2;

int Refuse(const std::string& sentence) {
  std::fprintf(stderr, "heed-bench: %s\n", sentence.c_str());
  return kRefused;
}

// As Google Benchmark's own filter: POSIX, extended.
class Filter {
 public:
  explicit Filter(const std::string& pattern)
      : ok_(::regcomp(&regex_, pattern.c_str(), REG_EXTENDED | REG_NOSUB) == 0) {}
  ~Filter() {
    if (ok_) ::regfree(&regex_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  bool ok() const { return ok_; }
  bool matches(const std::string& name) const {
    return ::regexec(&regex_, name.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t regex_;
  bool ok_;
};

bool AllDiffer(const std::vector<std::string>& names) {
  return std::set<std::string>(names.begin(), names.end()).size() == names.size();
}

// "Intel Xeon" of "Intel(R) Xeon(R)": bars have little room for names.
std::string WithoutMarks(std::string cpu) {
  for (const std::string& mark : {std::string("(R)"), std::string("(TM)"), std::string("(tm)")}) {
    for (size_t at = cpu.find(mark); at != std::string::npos; at = cpu.find(mark)) {
      cpu.erase(at, mark.size());
    }
  }
  return cpu;
}

// The first that tells all files apart: CPU, version, target, compiler, file name.
std::vector<std::string> NamesOf(const std::vector<Results>& files,
                                 const std::vector<std::string>& paths) {
  std::vector<std::string> cpus, versions, targets, compilers, stems;
  for (size_t i = 0; i < files.size(); ++i) {
    cpus.push_back(WithoutMarks(files[i].cpu));
    versions.push_back("heed " + files[i].heed);
    targets.push_back(files[i].target);
    compilers.push_back(files[i].compiler);
    const std::string stem = std::filesystem::path(paths[i]).stem().string();
    stems.push_back(tools::quote(stem));
  }
  for (const auto& names : {cpus, versions, targets, compilers, stems}) {
    if (AllDiffer(names)) return names;
  }
  for (size_t i = 0; i < stems.size(); ++i) stems[i] += " " + std::to_string(i + 1);
  return stems;
}

struct Arguments {
  std::vector<std::string> paths;
  std::string html, filter;
};

// 0 to go on, else the exit code plus one.
int Parse(int argc, char** argv, Arguments* arguments) {
  CLI::App app("Results of several runs side by side.", "heed-bench compare");
  app.add_option("files", arguments->paths,
                 "files that heed-bench --json wrote; the first is what "
                 "the others are compared with")
      ->required();
  app.add_option("--html", arguments->html, "write pictures and a table to this file");
  app.add_option("--filter", arguments->filter, "only names that match this regular expression");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 1;
  } catch (const CLI::ParseError& error) {
    return 1 + Refuse(std::string(error.what()) + "; see heed-bench compare --help");
  }
  if (arguments->paths.size() < 2) return 1 + Refuse("compare needs two files or more");
  if (arguments->paths.size() > 16) return 1 + Refuse("compare takes 16 files at most");
  return 0;
}

}  // namespace

Comparison compare(std::vector<Results> files, const std::vector<std::string>& paths) {
  Comparison comparison;
  comparison.names = NamesOf(files, paths);
  comparison.files = std::move(files);
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    for (const Entry& entry : comparison.files[i].entries) {
      const std::string name = name_of(entry);
      const auto [place, is_new] = index.emplace(name, comparison.rows.size());
      if (is_new) {
        comparison.rows.push_back(
            {name, std::vector<const Entry*>(comparison.files.size(), nullptr)});
      }
      comparison.rows[place->second].entries[i] = &entry;
    }
  }
  return comparison;
}

int compare_main(int argc, char** argv) {
  Arguments arguments;
  if (const int code = Parse(argc, argv, &arguments); code != 0) return code - 1;
  const Filter filter(arguments.filter.empty() ? "." : arguments.filter);
  if (!filter.ok()) return Refuse("--filter is no regular expression");
  std::vector<Results> files;
  bool any = false;
  for (const std::string& path : arguments.paths) {
    Result<Results> read = read_results(path);
    if (!read.ok()) return Refuse(read.status().message());
    std::erase_if(read->entries, [&](const Entry& e) { return !filter.matches(name_of(e)); });
    any = any || !read->entries.empty();
    files.push_back(std::move(*read));
  }
  if (!any) return Refuse("nothing to compare: no name in these files matches");
  const Comparison comparison = compare(std::move(files), arguments.paths);
  if (!arguments.html.empty()) {
    const Status written = tools::write_file(arguments.html, {comparison_html(comparison)});
    if (!written.ok()) return Refuse(written.message());
  }
  std::fputs(comparison_text(comparison).c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : Refuse("cannot write to standard output");
}

}  // namespace heed::bench
