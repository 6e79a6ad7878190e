"""The kinds of fault, one file a family. Each says which trials there are, and what one of them does."""

from __future__ import annotations

from types import ModuleType

from durability.families import damage, deaths, disk, kill_random, kill_steps, outage, power, store_faults, two_agents

# Family -> (module, share of all trials). What is cheap and sharp gets many.
FAMILIES: dict[str, tuple[ModuleType, float]] = {
    "kill-step": (kill_steps, 0.20),
    "kill-random": (kill_random, 0.12),
    "store-fault": (store_faults, 0.24),
    "power-cut": (power, 0.17),
    "disk": (disk, 0.07),
    "damage": (damage, 0.10),
    "two-agents": (two_agents, 0.05),
    "outage": (outage, 0.01),
    "death": (deaths, 0.04),
}
