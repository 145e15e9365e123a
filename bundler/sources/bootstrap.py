"""What the tool itself needs on a site: what the site's commands import, within pyproject.toml's bounds."""

REQUIREMENTS = (
    "click>=8.1,<9",
    "cryptography>=44,<51",
    "pysequoia>=0.1.30,<0.2",
    "pyyaml>=6.0.2,<7",
    "tqdm>=4.66,<5",
)
