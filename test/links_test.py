"""links_test.py ROOT: every relative link in the Markdown of the repository leads to a file, and to a heading of it
where it names one; so do the names of pages and headers in comments of public headers."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
BUILT = "build.ninja", "CMakeCache.txt"  # a folder with one of them is not heed's text


def is_text(folder):
    """Neither a build, nor what the scripts keep in folders build-*, nor others' sources."""
    return not (re.match(r"build|subprojects$|\.git$", folder.name) or any((folder / name).exists() for name in BUILT))


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def anchors(path):
    """As GitHub names headings: lower case, spaces to hyphens, no punctuation."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    headings = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
                for heading in re.findall(r"^#+ (.*?)\s*$", text, re.M)]
    return {heading if headings[:i].count(heading) == 0 else f"{heading}-{headings[:i].count(heading)}"
            for i, heading in enumerate(headings)}


pages = list(ROOT.glob("*.md"))
for folder in ROOT.iterdir():
    if folder.is_dir() and is_text(folder):
        pages += folder.rglob("*.md")
links, wrong = 0, []
for page in pages:
    text = without_code(page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"[a-z]+:", link):
            continue
        links += 1
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists():
            wrong.append(f"{page.relative_to(ROOT)}: {link} is not there")
        elif heading and heading not in anchors(target):
            wrong.append(f"{page.relative_to(ROOT)}: {link} has no such heading")
for header in (ROOT / "include").rglob("*.h*"):
    for name in re.findall(r"\b(?:docs|test|heed)/[\w/]+(?:\.\w+)?", header.read_text()):
        links += 1
        if not (ROOT / name).exists() and not (ROOT / "include" / name).exists():
            wrong.append(f"{header.relative_to(ROOT)}: {name} is not there")
for line in wrong:
    print(f"FAILED: {line}")
assert len(pages) > 8 and links > 20, f"{len(pages)} pages with {links} links were found"
print(f"{links - len(wrong)} passed, {len(wrong)} failed, 0 skipped")
sys.exit(1 if wrong else 0)
