"""The signature of an admitted and authorized request, and the mutation that Envoy must make.

The time in it is ``Signer``'s clock: AWS's time (``sts.aws_clock``).
"""

import time

from extproc.errors import Denied, Reason
from extproc.request.admission import Admission
from extproc.request.header_limits import check_room
from extproc.sessions.revocation import DenyList
from extproc.sessions.session import Authorized
from extproc.signing.payload import Payload, payload_of
from extproc.signing.signer import Signer
from extproc.telemetry.record import RequestRecord
from extproc.values import Allow


class Signature:
    """Signs requests with bodies of at most ``max_body_bytes`` bytes. For any thread."""

    def __init__(self, *, signer: Signer, deny_list: DenyList, max_body_bytes: int) -> None:
        self._signer = signer
        self._deny_list = deny_list
        self._max_body_bytes = max_body_bytes

    def payload(self, admission: Admission, body: bytes) -> Payload:
        """Return the body to send and its hash. Hashing a large body blocks: call it in another thread.

        Raises:
            Denied: ``BODY_TOO_LARGE`` or ``BODY_DIFFERS``.
        """
        if len(body) > self._max_body_bytes:
            raise Denied(Reason.BODY_TOO_LARGE, f"{len(body)} bytes")
        return payload_of(body, head=admission.head, target=admission.target, chunked=admission.chunked)

    def sign(
        self, admission: Admission, authorized: Authorized, payload: Payload, record: RequestRecord
    ) -> Allow:
        """Sign the request and return what Envoy must change in it.

        Raises:
            Denied: the identity was revoked meanwhile, or Envoy would refuse the request for its size.
        """
        # Last of all: the user may have been revoked while a body or an exchange was awaited.
        self._deny_list.refuse(authorized.session.identity)
        head, live = admission.head, authorized.live
        began = time.perf_counter()
        signed = self._signer.sign(
            method=head.method,
            path=admission.path,
            query=admission.query,
            clients=admission.signed + payload.headers if payload.headers else admission.signed,
            target=admission.target,
            credentials=live.credentials,
            payload=payload.hash,
            memo=live,
        )
        record.signed_for(
            authorized.session.identity,
            authorized.granted.grant,
            live.credentials,
            seconds=time.perf_counter() - began,
            shared=signed.shared,
        )
        record.withheld = admission.withheld
        to_set: tuple[tuple[str, str], ...] = (("authorization", signed.authorization), *payload.headers)
        forwarded_path = f"{admission.path}?{admission.query}" if admission.query else admission.path
        if forwarded_path != head.path:
            to_set += ((":path", forwarded_path),)
        if payload.changed or admission.lacks_length:
            # A request of unknown length would go upstream chunked, and AWS wants a length.
            to_set += (("content-length", str(len(payload.body))),)
        if admission.room is not None:
            check_room(admission.room, to_set, signed.shared.pairs)
        # What is set is removed first too: setting replaces the first of several values only.
        return Allow(to_set, admission.removed, payload.body if payload.changed else None, signed.shared)
