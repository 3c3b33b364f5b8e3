"""What the server can say of each signature: the registry's own keys first, then the gate's policy.

Without a gate nobody here says whose keys count, and a signature is merely present. Blocking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.reference import Reference
from registry.web.contents import small_blob
from registry.web.text import Moment, clean, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.x509 import Certificate

    from registry.countersign.keyring import Keyring
    from registry.web.site import Visit
    from trust.signature import Signature

_TIMES: Final = 16
"""Signatures of one page that are verified; each may take a process."""

_NAMES: Final = 4
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)
_SECONDS: Final = re.compile(r"[0-9]{1,11}\Z", re.ASCII)

LayerOf = Callable[..., Descriptor | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the server found: ``good``, ``bad`` or "" for nothing, and a sentence."""

    mark: str
    text: str
    received: Moment | None = None
    pusher: str = ""


_UNCHECKED: Final = Verdict("", "present; no gate here says whose signatures count")
_UNASKED: Final = Verdict("", "present; the gate's policy asks for no such signature")
_MANY: Final = Verdict("", "present; one of more than are verified for a page")
_GOOD: Final = Verdict("good", "verified: the gate's policy accepts it")
_DAMAGED: Final = Verdict("bad", "damaged: the signature is not where it should be")


@dataclass(slots=True)
class Judging:
    """The signatures of one manifest, judged for one page."""

    visit: Visit
    digest: Digest
    tags: tuple[str, ...]
    """By which the image is known, the one of the page first."""
    left: int = field(default=_TIMES)

    def bundle(self, where: str) -> Verdict:
        """The verdict on the sigstore bundle that the referrer ``where`` holds."""
        from trust import bundle
        from trust.signature import MAX_BUNDLE, BundleSignature

        return self._attached(
            where, bundle.referrer_layer, MAX_BUNDLE, BundleSignature, self._our_bundle
        )

    def notation(self, where: str) -> Verdict:
        """The verdict on the envelope of notation that the referrer ``where`` holds."""
        from trust.notation import envelope, referrer
        from trust.signature import NotationSignature

        return self._attached(
            where,
            referrer.referrer_layer,
            envelope.MAX_ENVELOPE,
            NotationSignature,
            self._our_envelope,
        )

    def tagged(self, where: str) -> Verdict:
        """The best verdict on what cosign keeps under its tag, the manifest ``where``."""
        from trust import cosign
        from trust.errors import TrustError
        from trust.signature import MAX_PAYLOAD

        manifest = self._manifest(where)
        if manifest is None:
            return _DAMAGED
        found: list[Verdict] = []
        for layer in cosign.signature_layers(manifest)[:_TIMES]:
            raw = small_blob(self.visit.registry, self._name, layer, limit=MAX_PAYLOAD)
            try:
                signature = None if raw is None else cosign.signature_of(layer, raw)
            except TrustError as error:
                found.append(_refused(error))
            else:
                found.append(_DAMAGED if signature is None else self._by_gate(signature))
        return _best(found)

    def openpgp(self, messages: Iterable[bytes]) -> Verdict:
        """The best verdict on messages of simple signing."""
        from trust.signature import OpenPgpSignature

        return _best(self._by_gate(OpenPgpSignature(message)) for message in messages)

    @property
    def _name(self) -> str:
        return self.visit.target.name

    def _attached(
        self,
        where: str,
        layer_of: LayerOf,
        limit: int,
        wrap: Callable[[bytes], Signature],
        ours: Callable[[Keyring, bytes], Verdict | None],
    ) -> Verdict:
        from trust.errors import TrustError

        manifest = self._manifest(where)
        try:
            layer = manifest and layer_of(manifest, self.digest, where=where)
        except TrustError as error:
            return _refused(error)
        raw = small_blob(self.visit.registry, self._name, layer, limit=limit) if layer else None
        if raw is None:
            return _DAMAGED
        countersigner = self.visit.registry.followers.countersigner
        if countersigner is not None:
            try:
                own = ours(countersigner.keyring, raw)
            except TrustError as error:
                return _refused(error)
            if own is not None:
                return own
        return self._by_gate(wrap(raw))

    def _our_bundle(self, keyring: Keyring, raw: bytes) -> Verdict | None:
        """The verdict on a bundle of the registry itself; None for those of others.

        Raises:
            TrustError: it is ours, or none at all, and does not count.
        """
        from trust import bundle
        from trust.errors import WrongKeyError
        from trust.keys import PublicKey
        from trust.signature import BundleSignature
        from trust.verify import policy_of_key, verify

        keys = map(PublicKey.from_pem, _PEM.findall(keyring.public_keys()))
        host = self.visit.registry.config.countersign.name
        reference = Reference(host, self._name, None, self.digest)
        try:
            verify(reference, self.digest, policy_of_key(*keys), _Only(BundleSignature(raw)))
        except WrongKeyError:
            return None
        return self._ours(bundle.parse_statement(bundle.parse_bundle(raw)).annotations)

    def _our_envelope(self, keyring: Keyring, raw: bytes) -> Verdict | None:
        """As ``_our_bundle``, for notation: ours are signed by one of our certificates itself."""
        from cryptography.x509 import load_pem_x509_certificates

        from trust.errors import WrongDigestError
        from trust.notation.envelope import open_envelope

        opened = open_envelope(raw)
        ours: list[Certificate] = load_pem_x509_certificates(keyring.certificates())
        if opened.chain[0] not in ours:
            return None
        if opened.target.digest != self.digest:
            raise WrongDigestError("it was made for another manifest")
        return self._ours(opened.target.annotations)

    def _ours(self, annotations: Mapping[str, object]) -> Verdict:
        from registry.countersign.countersigner import PUSHER
        from trust.signature import TIMESTAMP

        received = str(annotations.get(TIMESTAMP, ""))
        when = moment(int(received), self.visit.now) if _SECONDS.match(received) else None
        pusher = str(annotations.get(PUSHER, "")) if self.visit.visitor.knows_people else ""
        return Verdict("good", "verified: countersigned by this registry", when, pusher)

    def _by_gate(self, signature: Signature) -> Verdict:
        """What the policy of the repository's gate says of one signature."""
        from trust.errors import TrustError

        judge = self.visit.registry.gate.judge(self._name)
        if judge is None:
            return _UNCHECKED
        if self.left <= 0:
            return _MANY
        self.left -= 1
        failure: TrustError | None = None
        now = datetime.fromtimestamp(self.visit.now, UTC)
        for tag in (*self.tags[:_NAMES], None):
            try:
                asked = judge.weigh(self._name, tag, self.digest, signature, now=now)
            except TrustError as error:
                failure = failure or error
            else:
                return _GOOD if asked else _UNASKED
        assert failure is not None, "there is one name at least"
        return _refused(failure)

    def _manifest(self, digest: str) -> Manifest | None:
        registry = self.visit.registry
        row = registry.index.manifest(self._name, digest)
        if row is None:
            return None
        read = partial(registry.storage.read, Digest.parse(digest), limit=row.size)
        try:
            return Manifest.parse(read(), row.media_type)
        except ImagesError:
            return None


@dataclass(frozen=True, slots=True)
class _Only:
    """A ``trust.signature.SignatureSource`` of a single signature."""

    signature: Signature

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Signature]:
        yield self.signature


def _refused(error: ImagesError) -> Verdict:
    return Verdict("bad", clean(f"does not count: {error.what}"))


def _best(found: Iterable[Verdict]) -> Verdict:
    """One verdict for several signatures: a good one, else what was found first."""
    verdicts = list(found)
    good = sum(verdict.mark == "good" for verdict in verdicts)
    if not verdicts:
        return _DAMAGED
    if good and len(verdicts) > 1:
        return Verdict("good", f"verified: the gate's policy accepts {good} of {len(verdicts)}")
    return next((it for it in verdicts if it.mark == "good"), verdicts[0])
