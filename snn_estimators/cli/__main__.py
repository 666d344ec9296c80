"""``python -m snn_estimators.cli``."""

from snn_estimators.cli import main

if __name__ == "__main__":
    main()
