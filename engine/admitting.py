"""Who is asked before an image from a registry is used: the policy, and who else has a say.

What judges signatures is imported when a policy looks at one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from images.client.threads import to_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from engine.access import Access
    from images.client import RegistryClient
    from images.descriptor import Descriptor
    from images.reference import Reference


def verifier_of(
    access: Access, client: RegistryClient
) -> Callable[[Reference, Descriptor], Awaitable[None]]:
    """The ``verify`` argument of ``RegistryClient.pull``; what it raises refuses the image.

    Raises:
        PolicyFileError: as ``Access.policy``.
    """
    policy, judge = access.policy(), access.judge

    async def check(reference: Reference, descriptor: Descriptor) -> None:
        if not policy.decide(reference).accepts_anything:
            from engine.trusting import verifier

            verify = verifier(client, policy, notary=access.trust_data())
            await verify(reference, descriptor)
        if judge is not None:
            await to_thread(judge.image, reference, descriptor.digest)

    return check
