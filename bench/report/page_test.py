"""What the page of heed-bench must be, D3 inlined: page_test.py PAGE.html."""
import html.parser
import sys


class Parts(html.parser.HTMLParser):
    """Elements that load something, and the scripts."""

    def __init__(self):
        super().__init__()
        self.loads, self.scripts, self.script = [], [], None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("link", "iframe", "object", "embed", "base") or "src" in attributes:
            self.loads.append((tag, attributes))
        if tag == "script":
            self.script = attributes
            self.scripts.append([attributes, ""])

    def handle_endtag(self, tag):
        if tag == "script":
            self.script = None

    def handle_data(self, data):
        if self.script is not None:
            self.scripts[-1][1] += data


with open(sys.argv[1], encoding="utf-8") as file:
    page = file.read()
parts = Parts()
parts.feed(page)
assert not parts.loads, parts.loads
assert "@import" not in page and "url(" not in page
results = [text for attributes, text in parts.scripts if attributes.get("id") == "results"]
assert results == ["null"], results  # the place of the results, once
own = [text for attributes, text in parts.scripts if "'use strict'" in text and not attributes]
# Text from results is never read as markup.
assert own
for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
    assert way not in own[-1], way
