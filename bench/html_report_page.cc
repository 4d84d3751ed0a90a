#include "bench/html_report_page.h"

#include "bench/plot.h"
#include "tools/svg.h"

namespace heed::bench {
namespace {

using tools::xml_escape;

// Colours are told apart with any colour vision, and by the shape of their marks; against the page
// each has a contrast that text needs.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --page: #fff; --card: #f7f8fa; --text: #1b1f24; --soft: #57606a;
  --rule: #dfe3e8; --c0: #0060a8; --c1: #6b7280; --c2: #bf4b00; --c3: #00785a; --c4: #a8327e;
  --c5: #806000; --c6: #5b46c9; --c7: #1b1f24 }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1d2126; --text: #e8eaed;
  --soft: #a7afb9; --rule: #363c44; --c0: #62b5f5; --c1: #9aa3af; --c2: #ff8f4a; --c3: #35cf9f;
  --c4: #ec8fcb; --c5: #e8bd45; --c6: #b4a5ff; --c7: #e8eaed } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1240px; margin: 0 auto; padding: 16px }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.2rem 0 .3rem }
p { margin: .3rem 0 .8rem; max-width: 46rem; color: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1rem }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0 0 .6rem; padding: 0;
  list-style: none; font-size: .9rem }
.key { width: 14px; height: 14px; vertical-align: -2px; margin-right: .35rem }
.figures { display: grid; gap: 14px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)) }
.figures.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)) }
figure { margin: 0; padding: 10px; background: var(--card); border-radius: 8px; min-width: 0 }
figcaption { font-size: .92rem; font-weight: 600; line-height: 1.3; margin-bottom: 6px;
  overflow-wrap: anywhere }
figure svg { display: block; width: 100%; max-width: 540px; height: auto }
svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  fill: var(--text) }
svg .small { font-size: 10px; fill: var(--soft) }
svg .strong { font-weight: 600 }
svg .name { font-weight: 600; fill: var(--s) }
svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round }
.s0 { --s: var(--c0) } .s1 { --s: var(--c1) } .s2 { --s: var(--c2) } .s3 { --s: var(--c3) }
.s4 { --s: var(--c4) } .s5 { --s: var(--c5) } .s6 { --s: var(--c6) } .s7 { --s: var(--c7) }
.grid { stroke: var(--rule); stroke-width: .8 }
.axis, .limit.plain { stroke: var(--soft); stroke-width: 1 }
.leader { stroke: var(--s, var(--soft)); stroke-width: .6 }
.roof { stroke: var(--text); stroke-width: 1.4 }
svg .roofname { fill: var(--text) }
.line { fill: none; stroke: var(--s); stroke-width: 1.8; stroke-linejoin: round }
.line.limit { stroke-dasharray: 4 3; stroke-width: 1.3 }
.mark { fill: var(--card); stroke: var(--s); stroke-width: 1.5; stroke-linejoin: round }
.mark.filled { fill: var(--s) }
.bar { fill: var(--s) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
td.words { text-align: left; white-space: normal; min-width: 12rem }
th { font-weight: 600; color: var(--soft) }
tbody th { color: var(--text); padding-top: .8rem; text-align: left }
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; --text: #000; --soft: #444;
    --rule: #ccc; --c0: #0060a8; --c1: #6b7280; --c2: #bf4b00; --c3: #00785a; --c4: #a8327e;
    --c5: #806000; --c6: #5b46c9; --c7: #000 }
  @page { margin: 14mm }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact }
  main { max-width: none; padding: 0 }
  .figures, .figures.two { grid-template-columns: 1fr 1fr }
  figure { break-inside: avoid; border: 1px solid var(--rule) }
  h2, h2 + p, .keys { break-after: avoid }
  .wide { overflow: visible }
  table { font-size: 7.5pt }
  th, td { padding: .1rem .35rem }
  tr { break-inside: avoid }
}
)";

}  // namespace

std::string html_page(const std::string& title, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         xml_escape(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<main>\n" +
         body + "</main>\n</body>\n</html>\n";
}

std::string html_section(const std::string& heading, const std::string& text,
                         const std::vector<Key>& keys, const std::vector<Figure>& figures,
                         size_t columns) {
  if (figures.empty()) return "";
  std::string html =
      "<section>\n<h2>" + xml_escape(heading) + "</h2>\n<p>" + xml_escape(text) + "</p>\n";
  if (!keys.empty()) html += "<ul class=\"keys\">\n";
  for (const Key& key : keys) {
    html += "<li>" + mark_svg(key.style) + xml_escape(key.name) + "</li>\n";
  }
  if (!keys.empty()) html += "</ul>\n";
  html += columns == 2 ? "<div class=\"figures two\">\n" : "<div class=\"figures\">\n";
  for (const Figure& figure : figures) {
    html += "<figure>\n<figcaption>" + xml_escape(figure.title) + "</figcaption>\n" + figure.svg +
            "</figure>\n";
  }
  return html + "</div>\n</section>\n";
}

std::string html_row(const std::vector<std::string>& cells, bool header) {
  const std::string tag = header ? "th" : "td";
  std::string html = "<tr>";
  for (const std::string& cell : cells) {
    html += "<" + tag + ">" + xml_escape(cell) + "</" + tag + ">";
  }
  return html + "</tr>\n";
}

}  // namespace heed::bench
