"""e2e_report.py DIR: what a run of scripts/lab/e2e came to, by its JUnit files there. Exit 1: there are none."""

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

SLOWEST = 10  # specs that are named


def main() -> int:
    cases = [case for file in Path(sys.argv[1]).glob("junit*.xml") for case in ET.parse(file).iter("testcase")]
    specs = [case for case in cases if case.get("name", "").startswith("[It]")]
    if not specs:
        return 1
    ran = [case for case in specs if case.get("status") != "skipped"]
    counts = Counter(case.get("status", "?") for case in ran)
    took = sorted(((float(case.get("time", 0)), case.get("name", "")) for case in ran), reverse=True)
    seconds = sum(each for each, _ in took)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    print(f"{len(ran)} specs in {seconds:.0f} s, {seconds / max(1, len(ran)):.1f} s each: {told}")
    for case in ran:
        if case.get("status") != "passed":
            print(f"  {case.get('status')}: {case.get('name', '').removeprefix('[It] ')}")
    for each, name in took[:SLOWEST]:
        print(f"  {each:6.1f} s  {name.removeprefix('[It] ')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
