#include "bench/output.h"

#include <cstdio>
#include <memory>
#include <sstream>

#include "bench/report/page.h"
#include "bench/table.h"
#include "tools/cpu_info.h"
#include "tools/file.h"
#include "tools/text.h"

namespace heed::bench {
namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#else
  return std::string("GCC ") + __VERSION__;
#endif
}

// Its writer of CSV is the only one it has, deprecated or not.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
std::unique_ptr<benchmark::BenchmarkReporter> make_writer(const std::string& format) {
  if (format == "json") return std::make_unique<benchmark::JSONReporter>();
  if (format == "csv") return std::make_unique<benchmark::CSVReporter>();
  return std::make_unique<benchmark::ConsoleReporter>(benchmark::ConsoleReporter::OO_None);
}
#pragma GCC diagnostic pop

std::string written_as(const std::string& format, const BenchmarkRuns& runs) {
  std::ostringstream text;
  const auto writer = make_writer(format);
  writer->SetOutputStream(&text);
  writer->SetErrorStream(&text);
  benchmark::BenchmarkReporter::Context context;
  context.name_field_width = 64;
  if (!writer->ReportContext(context)) return "";
  writer->ReportRuns(runs);
  writer->Finalize();
  return text.str();
}

}  // namespace

void add_machine(const Context& context) {
  nlohmann::ordered_json rivals = nlohmann::ordered_json::object();
#if defined(HEED_BENCH_ONEDNN)
  rivals["oneDNN"] = onednn_version();
#endif
#if defined(HEED_BENCH_OPENBLAS)
  rivals["OpenBLAS"] = openblas_version();
#endif
  benchmark::AddCustomContext("heed", version());
  benchmark::AddCustomContext("compiler", compiler());
  benchmark::AddCustomContext("cpu", tools::cpu_model());
  benchmark::AddCustomContext("cpus_in_use", std::to_string(tools::cpu_count()));
  benchmark::AddCustomContext("target", context.target());
  benchmark::AddCustomContext("family", name_of(family(context.target())));
  benchmark::AddCustomContext("rivals", rivals.dump());
}

void add_limits(const std::vector<Limits>& limits) {
  benchmark::AddCustomContext("limits", limits_to_json(limits));
}

std::string to_json(const BenchmarkRuns& runs) { return written_as("json", runs); }

Status write_results(const Output& output, const BenchmarkRuns& runs) {
  const std::string json = to_json(runs);
  const Result<nlohmann::json> document = tools::parse_json(json, "results");
  if (!document.ok()) return document.status();
  if (output.format == "console") {
    const Result<Results> results = results_from_json(*document);
    if (!results.ok()) return results.status();
    std::fputs(table_of(*results).c_str(), stdout);
  } else {
    std::fputs((output.format == "json" ? json : written_as(output.format, runs)).c_str(), stdout);
  }
  if (std::fflush(stdout) != 0) {
    return Status::Error(StatusCode::kInvalidArgument, "cannot write to standard output");
  }
  if (!output.file.empty()) {
    const std::string text =
        output.file_format == "json" ? json : written_as(output.file_format, runs);
    if (Status s = tools::write_file(output.file, {text}); !s.ok()) return s;
  }
  if (output.html.empty()) return Status();
  return tools::write_file(output.html, {report_page(without_repetitions(*document).dump())});
}

}  // namespace heed::bench
