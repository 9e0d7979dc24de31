"""The check of GUARANTEES.md finds what is wrong: each kind of fault once, and nothing in a page that
is in order.

    python3 -m unittest discover -s tests/guarantees
"""

import unittest

import check

# Tests that exist, one of each language.
GOOD = [
    "tests/hub.rs::a_closed_inbox_keeps_nothing",
    "tests/server/fanout.rs::a_subscription_begins_at_one_point_of_the_order",
    "src/wire/name.rs::names_are_1_to_255_bytes_without_control_characters",
    "bindings/python/tests/test_client.py::test_it_connects_and_closes",
    "tests/native/lifecycle.c::lifecycle",
    "tests/native/lifecycle.c::serve_once",
    "tests/native/cpp/callbacks.cpp::captures_are_destroyed_once_after_close_wait",
]


def faults(text):
    return [text for _, text in check.check(text)[0]]


def page(*tests):
    return "# Guarantees\n\n## Room\n\n- It holds. — " + ", ".join(f"`{test}`" for test in tests) + "\n"


class Check(unittest.TestCase):
    def test_a_page_in_order_has_no_fault(self):
        found, sentences, tests = check.check(page(*GOOD))
        self.assertEqual((found, sentences, tests), ([], 1, len(GOOD)))

    def test_an_item_may_have_further_lines(self):
        text = f"## Room\n\n- It holds\n  well. —\n  `{GOOD[0]}`\n"
        self.assertEqual(faults(text), [])

    def test_a_sentence_needs_a_test(self):
        self.assertIn("an item is", faults("## Room\n\n- It holds.\n")[0])
        self.assertIn("an item is", faults("## Room\n\n- It holds. — trust us\n")[0])

    def test_a_sentence_ends(self):
        self.assertIn("full stop", faults(page(GOOD[0]).replace("holds.", "holds"))[0])

    def test_a_section_needs_a_sentence(self):
        self.assertEqual(faults(page(GOOD[0]) + "\n## Empty\n"), ["section 'Empty' has no sentence"])
        self.assertEqual(faults("# Guarantees\n"), ["there is no section"])

    def test_what_is_named_must_be_a_test_that_runs(self):
        for test, why in [
            ("tests/nowhere.rs::x", "no such file"),
            ("tests/hub.rs::no_such_test", "no such function"),
            ("tests/hub.rs::take", "no #[test]"),
            ("tests/hub.rs", "not PATH::NAME"),
            ("tests/hub.rs::a b", "not PATH::NAME"),
            ("README.md::x", "tests are"),
            ("bindings/python/tests/test_client.py::test_nothing", "no such function"),
            ("bindings/python/tests/chat.py::test_x", "pytest collects"),
            ("tests/native/planted_leak.c::planted_leak", "no test in CMakeLists"),
            ("tests/native/lifecycle.c::nothing", "main does not call it"),
            ("tests/native/cpp/callbacks.cpp::nothing", "no such TEST"),
            ("tests/native/cpp/two_builds_other.cpp::x", "no test in CMakeLists"),
        ]:
            with self.subTest(test):
                found = faults(page(test))
                self.assertEqual(len(found), 1)
                self.assertIn(why, found[0])

    def test_an_ignored_test_and_an_undeclared_file_do_not_count(self):
        folder = check.ROOT / "target" / "guarantees"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "x.rs"
        for attributes, why in [
            ("#[test]\n#[ignore]\n", "ignored"),
            ("#[test]\n", "no module declares"),
            ("", "no #[test]"),
        ]:
            file.write_text(f"{attributes}fn holds() {{}}\n")
            with self.subTest(why):
                self.assertIn(why, faults(page("target/guarantees/x.rs::holds"))[0])


if __name__ == "__main__":
    unittest.main()
