"""`python -m bundler`, for machines where `bundle` is Ruby's."""

import sys

from bundler.cli.main import main

sys.exit(main())
