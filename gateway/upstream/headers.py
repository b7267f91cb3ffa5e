"""The headers of an answer."""

from collections.abc import Iterator, Mapping


class AnswerHeaders(Mapping[str, str]):
    """Headers by name, in any case. Text is made of one when it is asked for: hardly any is."""

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        """Take them by names in lower case."""
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower().encode()].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._fields)

    def __len__(self) -> int:
        return len(self._fields)
