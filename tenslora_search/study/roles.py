"""Roles: what a weight of a point is about, and which bond takes which."""

from tenslora_search.spec.structure import Structure

ROLES = ("input", "output", "head", "projection", "layer")
"""What a weight may be about; a bond without a mode of its own (r_1 of a train) takes the role of
its place in the chain.
"""


def bond_roles(structure: Structure) -> list[str]:
    """For each bond the role whose weight it takes."""
    roles: list[str] = []
    for place, bond in enumerate(structure.bonds):
        mode = bond.removeprefix("r_").replace("head_dim", "output")
        roles.append(mode if mode in ROLES else ROLES[place % len(ROLES)])
    return roles
