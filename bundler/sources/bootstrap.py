"""What the tool itself needs on a site: what the site's commands import, within pyproject.toml's bounds."""

REQUIREMENTS = (
    "bcrypt>=4.2,<6",
    "click>=8.1,<9",
    "cryptography>=44,<51",
    "jinja2>=3.1,<4",
    "pysequoia>=0.1.30,<0.2",
    "pyyaml>=6.0.2,<7",
    "tqdm>=4.66,<5",
    "zstandard>=0.23,<0.26",
)
