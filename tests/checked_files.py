"""What `dialsum check` says of files."""

from dialsum_trl.cli.check import check_files

GOOD = "#Person1#: 안녕하세요. 오늘 회의는 몇 시에 시작하나요?\n#Person2#: 오후 두 시에 시작합니다."


def checked(capsys, *files, **kwargs):
    """Whether the files are ready, and the lines that were printed."""
    ready = check_files(list(files), **kwargs)
    return ready, capsys.readouterr().out.splitlines()


def has(lines, level, text):
    return any(line.startswith(level) and text in line for line in lines)
