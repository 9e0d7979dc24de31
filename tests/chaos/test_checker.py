"""The checker finds what it is for."""

from __future__ import annotations

import json
import unittest

from checker import Keeps, Log, Publications, Tally


def connected(epoch: int, offset: int, recovered: bool | None = None) -> str:
    row = {"event": "connected", "epoch": epoch, "offset": offset, "recovered": recovered}
    return json.dumps(row)


def message(epoch: int, offset: int, data: str | None = None) -> str:
    return json.dumps({"epoch": epoch, "offset": offset, "data": data or f"c:{epoch * 100 + offset}"})


def judged(
    *lines: str, publications: Publications | None = None, keeps: Keeps = Keeps.FEW
) -> Tally:
    tally = Tally()
    Log("a", "c", keeps, publications or Publications(), tally).read(lines)
    return tally


class CheckerTest(unittest.TestCase):
    def test_a_gapless_log_is_good(self) -> None:
        lost = json.dumps({"event": "error", "text": "lost the connection: it ended"})
        tally = judged(
            connected(1, 4), message(1, 5), lost, connected(1, 5, True), message(1, 6),
            connected(1, 9, False), message(1, 10), connected(2, 0, False), message(2, 1),
        )
        self.assertTrue(tally.good, tally.faults)
        self.assertEqual((tally.messages, tally.lost, tally.recovered, tally.told), (4, 1, 1, 2))

    def test_every_fault_is_found(self) -> None:
        start = connected(1, 4)
        for what, lines in {
            "missing": (start, message(1, 6)),
            "missing behind a reconnection": (
                start, message(1, 5), connected(1, 5, True), message(1, 7),
            ),
            "doubled": (start, message(1, 5), message(1, 5)),
            "doubled behind a reconnection": (start, message(1, 5), connected(1, 4, True)),
            "out of order": (start, message(1, 6), message(1, 5)),
            "another epoch": (start, message(2, 5)),
            "no word": (start, message(1, 5), connected(1, 7)),
            "told of nothing": (start, message(1, 5), connected(1, 5, False)),
            "recovered at the start": (connected(1, 4, True),),
            "not connected": (message(1, 5),),
            "another channel": (start, message(1, 5, "d:1")),
            "published twice": (start, message(1, 5, "c:1"), message(1, 6, "c:1")),
            "ended": (start, json.dumps({"event": "closed", "text": "closed"})),
        }.items():
            with self.subTest(what):
                self.assertFalse(judged(*lines).good)

    def test_a_channel_that_keeps_everything_has_nothing_to_tell_but_of_another_epoch(self) -> None:
        start = connected(1, 4), message(1, 5)
        self.assertFalse(judged(*start, connected(1, 9, False), keeps=Keeps.ALL).good)
        self.assertTrue(judged(*start, connected(2, 0, False), keeps=Keeps.ALL).good)

    def test_a_channel_on_disk_has_nothing_to_tell(self) -> None:
        start = connected(1, 4), message(1, 5)
        self.assertTrue(judged(*start, connected(1, 5, True), keeps=Keeps.DISK).good)
        for at in [(1, 9), (2, 0)]:
            self.assertFalse(judged(*start, connected(*at, False), keeps=Keeps.DISK).good)

    def test_what_was_published_is_compared(self) -> None:
        publications = Publications()
        publications.agree("c", (1, 5), "c:7")
        self.assertTrue(
            judged(connected(1, 4), message(1, 5, "c:7"), publications=publications).good
        )
        self.assertEqual(
            judged(connected(1, 4), message(1, 5, "c:8"), publications=publications).wrong, 1
        )


if __name__ == "__main__":
    unittest.main()
