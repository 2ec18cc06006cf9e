"""Log lines with their fields."""

from pipelines.logfmt import line


def test_words_stand_as_they_are_and_all_else_is_quoted():
    told = line("block failed", tile_year="48QUE-2020", block=3, seconds=1.23456, reason='no "answer" for 2 s\nat all')
    assert told == r'block failed tile_year=48QUE-2020 block=3 seconds=1.235 reason="no \"answer\" for 2 s\nat all"'


def test_what_is_empty_is_seen():
    assert line("scene left out", scene="") == 'scene left out scene=""'
