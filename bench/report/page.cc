#include "bench/report/page.h"

#include "bench/report/page_pieces.h"

namespace heed::bench {

std::string report_page(std::string_view json) {
  std::string page;
  for (const std::string_view piece : kPageBeforeResults) page += piece;
  for (const char c : json) {
    // No name in the results may end the script that holds them; JSON has this only in strings.
    if (c == '<') {
      page += "\\u003c";
    } else {
      page += c;
    }
  }
  for (const std::string_view piece : kPageAfterResults) page += piece;
  return page;
}

}  // namespace heed::bench
