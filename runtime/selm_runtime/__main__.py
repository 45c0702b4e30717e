"""`python -m selm_runtime <phase>`: what a pod of a SELMRun runs. The phase is the enum's value in lower case."""

from __future__ import annotations

import argparse
import sys

from selm_runtime.contract import Phase
from selm_runtime.phase import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m selm_runtime", description=__doc__)
    parser.add_argument("phase", choices=[phase.slug for phase in Phase])
    sys.exit(main(parser.parse_args().phase))
