"""What a gateway worker knows of the database: frozen values, looked up in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from serving.types import Role, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a key may use; None: as much as comes."""

    rpm: int | None = None
    """Requests a minute."""
    tpm: int | None = None
    """Tokens a minute, of prompts and answers together."""
    concurrency: int | None = None
    """Requests at once."""
    budget: int | None = None
    """Tokens a calendar month, UTC."""


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceptions:
    """What one key may ask of engines that others may not, and the other way round: by fields."""

    allowed: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    most: Mapping[str, int | float] = field(default_factory=dict)
    """Upper bounds in place of the usual ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling, and what they may do."""

    key_id: str
    tenant: str
    role: Role
    aliases: frozenset[str] | None = None
    """The aliases that this key may call; None: any."""
    quota: Quota = UNLIMITED
    exceptions: Exceptions | None = None
    """None, as for most: what everybody may ask."""
    is_logged: bool = True
    is_trainable: bool = True

    def may_call(self, alias: str) -> bool:
        """Whether an alias of that name is among those that this key may call."""
        return self.aliases is None or alias in self.aliases


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What an alias serves. `adapter` None: the pool's base model as it is."""

    id: int
    number: int
    pool: str
    adapter: str | None = None
    adapter_digest: str | None = None
    system_prompt: str | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A client-visible name, its champion, and perhaps a challenger with a share of traffic."""

    id: int
    tenant: str
    name: str
    task: Task
    champion: Release
    challenger: Release | None = None
    previous: Release | None = None
    is_shared: bool = False
    canary_percent: float = 0
    canary_revision: int = 0
    budget: int | None = None
    """Tokens a calendar month, UTC, whoever calls; None: as many as come."""

    @property
    def releases(self) -> tuple[Release, ...]:
        """The releases that may get traffic now: champion, challenger, previous."""
        held = (self.champion, self.challenger, self.previous)
        return tuple(release for release in held if release is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyUsage:
    """Tokens used this month, as far as they are in the database; only where there is a budget."""

    month: int = 0
    """Since the year 0: 12 * year + month - 1."""
    by_key: Mapping[str, int] = field(default_factory=dict)
    by_alias: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Keys and aliases as of one revision of the database."""

    revision: int = 0
    principals: Mapping[str, Principal] = field(default_factory=dict)
    """SHA-256 of the key, hexadecimal -> principal; revoked keys are not in it."""
    aliases: Mapping[tuple[str, str], Alias] = field(default_factory=dict)
    """(tenant, name) -> alias."""
    shared: Mapping[str, Alias] = field(default_factory=dict)
    """name -> alias that every tenant may call."""
    under_evaluation: tuple[Release, ...] = ()
    """Candidates that runs are evaluating: engines hold them, and no client can call them."""
    usage: MonthlyUsage = MonthlyUsage()
    """Of a later moment than the rest, perhaps: no change of it raises the revision."""
    kept_since: datetime | None = None
    """What began before was purged; None: nothing was."""

    @property
    def all_aliases(self) -> tuple[Alias, ...]:
        """Every alias once, whoever owns it."""
        return tuple(self.aliases.values())

    @property
    def has_budgets(self) -> bool:
        """Whether what is used counts for anybody."""
        return any(alias.budget is not None for alias in self.all_aliases) or any(
            principal.quota.budget is not None for principal in self.principals.values()
        )

    def principal_of(self, key: str) -> Principal | None:
        """Return whose key this is. Looked up by hash, so timing tells nothing about the key."""
        return self.principals.get(digest_of(key))

    def alias_for(self, tenant: str, name: str) -> Alias | None:
        """Return the tenant's own alias of that name, else the shared one."""
        return self.aliases.get((tenant, name)) or self.shared.get(name)


def month_number(moment: datetime) -> int:
    """Return months since the year 0: a month that compares and fits into a machine's word."""
    at = moment.astimezone(UTC)
    return 12 * at.year + at.month - 1


def month_begin(number: int) -> datetime:
    """Return when the month of that number begins."""
    year, month = divmod(number, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def digest_of(key: str) -> str:
    """Return the form in which a key is kept: SHA-256, hexadecimal.

    A plain hash is enough: keys are 256 random bits, there is no password to guess.
    """
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
