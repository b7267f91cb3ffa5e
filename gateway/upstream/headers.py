"""The headers of an answer."""

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """Headers by name, in any case; one that came several times is joined with commas."""

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._by_name: dict[str, str] = {}
        for raw_name, raw_value in fields:
            name = raw_name.decode("latin-1").lower()
            value = raw_value.strip(b" \t").decode("latin-1")
            before = self._by_name.get(name)
            self._by_name[name] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
