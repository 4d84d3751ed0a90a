"""Puts D3 into the page of heed-bench and writes it as C++.

embed.py report.html [d3.min.js] --page PAGE.html --pieces PIECES.cc
"""
import argparse
import re

RESULTS = '<script type="application/json" id="results">null</script>'
LIBRARY = re.compile(r'<script src="[^"]*d3\.min\.js"></script>\n')
NOTICE = "<!-- D3, https://d3js.org, copyright Mike Bostock: BSD-3-Clause, from version 7 on ISC -->\n"
PIECE = 8000  # characters: compilers need not take strings of more than 65536


def with_library(page, library):
    """The page with the script in place of its address; without the script where there is none."""
    script = ""
    if library:  # nothing in a script may end it
        script = NOTICE + "<script>" + library.replace("</script", r"<\/script") + "</script>\n"
    page, count = LIBRARY.subn(lambda match: script, page)
    assert count == 1, "the page names D3 once"
    return page


def literals(text):
    assert ')page"' not in text
    pieces = [text[i:i + PIECE] for i in range(0, len(text), PIECE)]
    return ",\n".join('R"page(' + piece + ')page"' for piece in pieces)


def as_cpp(page):
    before, after = page.split(RESULTS)
    at = RESULTS.index("null")
    return ('#include "bench/report/page_pieces.h"\n\nnamespace heed::bench {\n\n'
            "const std::vector<std::string_view> kPageBeforeResults = {\n"
            + literals(before + RESULTS[:at]) + "};\n\n"
            "const std::vector<std::string_view> kPageAfterResults = {\n"
            + literals(RESULTS[at + len("null"):] + after) + "};\n\n}  // namespace heed::bench\n")


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report")
    parser.add_argument("library", nargs="?")
    parser.add_argument("--page", required=True)
    parser.add_argument("--pieces", required=True)
    arguments = parser.parse_args()
    page = with_library(read(arguments.report), arguments.library and read(arguments.library))
    write(arguments.page, page)
    write(arguments.pieces, as_cpp(page))


main()
