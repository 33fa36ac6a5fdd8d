"""The total of a receipt."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tally import Line, total


class TotalTest(unittest.TestCase):
    """What the total counts."""

    def test_counts_every_piece(self) -> None:
        self.assertEqual(total([Line("tea", 3, 250), Line("cup", 1, 900)]), 1650)

    def test_takes_the_discount_off(self) -> None:
        self.assertEqual(total([Line("tea", 1, 1000)], discount_percent=15), 850)


if __name__ == "__main__":
    unittest.main()
