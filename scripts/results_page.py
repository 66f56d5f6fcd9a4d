"""Put the tables that scripts/real_data.sh made into the marked places of docs/results.md.

python scripts/results_page.py real docs/results.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main(tables: Path, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- table: (\w+) -->", text):
        table = (tables / f"{name}.md").read_text(encoding="utf-8").strip()
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marked.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
