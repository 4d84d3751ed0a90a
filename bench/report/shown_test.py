"""What a browser shows of results on the page of heed-bench: shown_test.py PAGE.html CHROMIUM.

CHROMIUM is chromium-headless-shell, or empty where it is not installed: skipped."""
import html
import json
import pathlib
import re
import subprocess
import sys
import tempfile

# As wide as a phone, a window in which the numbers are a list, and one in which they are a table:
# nothing may stand beyond its edge or be cut short.
PHONE, LIST, TABLE = 390, 1040, 1280
MEASURE = """<script>
const cut = [...document.querySelectorAll('#stored .name, #stored figcaption, .scroll')]
  .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent);
document.documentElement.dataset.shown =
  JSON.stringify([innerWidth, document.documentElement.scrollWidth, cut]);
</script>"""


LIMITS = json.dumps([{"threads": 1, "flops": 1e11, "bandwidth": [
    {"level": level, "bytes_per_second": 2e10} for level in ("L1", "L2", "L3", "memory")]}])


def row(shape, best, bound="memory", **counters):
    label = {"operation": "feature", "shape": shape, "library": "heed", "bound": bound}
    name = f"feature/{shape}/threads:1/heed"
    return {"name": name + "_min", "run_name": name, "aggregate_name": "min",
            "run_type": "aggregate", "label": json.dumps(label), "real_time": best,
            "time_unit": "us", "num_threads": 1, "flops": 1e7, "bytes": 1e6, **counters}


def shown(*rows, width=PHONE):
    """The section of stored types, or None; the page is whole and fits."""
    page = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    results = json.dumps({"context": {"heed": "test", "limits": LIMITS}, "benchmarks": rows})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "page.html"
        path.write_text(page.replace('id="results">null<', f'id="results">{results}<')
                        .replace("</body>", MEASURE + "</body>"), encoding="utf-8")
        done = subprocess.run(
            # Its sandbox wants more rights than a container gives, and the page is our own.
            [sys.argv[2], "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
             f"--window-size={width},3000", "--timeout=60000", "--dump-dom", path.as_uri()],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=True)
    dom = done.stdout
    measured = html.unescape(re.search(r'data-shown="([^"]*)"', dom)[1])
    inner, page_width, cut = json.loads(measured)
    assert inner == width and page_width <= width and cut == [], measured
    found = re.search(r'<section id="stored">.*?</section>', dom, re.S)
    return found and html.unescape(found[0])


def bars(text):
    """[(name, percents of the bar and of its mark, text)]"""
    return [(name, float(bar), float(mark), value) for name, bar, mark, value in re.findall(
        r'<th class="name" scope="row">(.*?)</th>.*?<i style="width: ?([\d.]+)%;?">.*?'
        r'<b style="left: ?([\d.]+)%;?">.*?<td class="value">(.*?)</td>', text, re.S)]


if not sys.argv[2]:
    print("SKIPPED: what the page shows: chromium-headless-shell is not installed")
    sys.exit(77)

DECODE, PRODUCT = "decode/heads:12/len:4096/dim:64", "1x4096x4096"
decode = [row(f"cache:{name}/{DECODE}", 500 * time, bound, q_len=1, vs_f32=time, bytes_vs_f32=of)
          for name, bound, time, of in (("bf16", "memory", 0.5, 0.5),
                                        ("bf16/values:int8", "memory", 0.4, 0.375),
                                        ("int4", "flops", 0.25, 0.125))]
product = row(f"weights:int4/group:32/{PRODUCT}", 2000, "memory", m=1, vs_f32=1.25,
              bytes_vs_f32=0.15)
prefill = row("cache:int4/prefill/heads:12/len:1024/dim:64", 900, "flops", q_len=1024,
              vs_f32=1.1, bytes_vs_f32=0.2)

section = shown(*decode, product, prefill)
assert section, "no picture"
assert section.count("<figure>") == 2 and section.count('class="group"') == 2, section
assert "decode, heads 12, len 4096, dim 64" in section and PRODUCT in section
assert "prefill" not in section  # its bytes do not say its time
# The longest bar fills its track.
assert bars(section) == [
    ("f32", 100, 100, "1.00× · 500\u00a0µs"), ("bf16", 50, 50, "0.50× · 250\u00a0µs"),
    ("bf16, values int8", 40, 37.5, "0.40× · 200\u00a0µs"),
    ("int4", 25, 12.5, "0.25× · 125\u00a0µs"),
    ("f32", 80, 80, "1.00× · 1.60\u00a0ms"), ("int4, group 32", 100, 12, "1.25× · 2.00\u00a0ms"),
], bars(section)

assert shown(row(f"soft_cap/{DECODE}", 500, vs_causal=1.1), prefill) is None, "an empty picture"

# Every number in every column.
full = row("cache:bf16/values:int8/decode/heads:32on8/len:32768/dim:128", 500,
           limit_per_second=2e10, vs_causal=1.23, vs_f32=0.55, bytes_vs_f32=0.53, workspace_bytes=2e5, q_len=1)
for width in LIST, TABLE:
    shown(full, width=width)
