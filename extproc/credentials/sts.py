"""The exchange: the user's own token for temporary credentials, by STS AssumeRoleWithWebIdentity.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html

The call is not signed; the token is the proof. The only module that touches botocore.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from extproc.errors import Denied, Reason
from extproc.values import Credentials, Grant

_REASONS = {
    "ExpiredTokenException": Reason.STS_TOKEN_EXPIRED,
    "InvalidIdentityToken": Reason.STS_TOKEN_REFUSED,
    "IDPRejectedClaim": Reason.STS_TOKEN_REFUSED,
    "IDPCommunicationError": Reason.STS_UNAVAILABLE,
    "AccessDenied": Reason.STS_ACCESS_DENIED,
    "MalformedPolicyDocument": Reason.STS_MISCONFIGURED,
    "PackedPolicyTooLarge": Reason.STS_MISCONFIGURED,
    "RegionDisabledException": Reason.STS_MISCONFIGURED,
    "ValidationError": Reason.STS_MISCONFIGURED,
    "Throttling": Reason.STS_THROTTLED,
    "ThrottlingException": Reason.STS_THROTTLED,
    "RequestLimitExceeded": Reason.STS_THROTTLED,
    "SlowDown": Reason.STS_THROTTLED,
}
# In botocore's form: key in the configuration file, environment variable, default, conversion.
_BLIND_TO_THE_MACHINE = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "sts_regional_endpoints": (None, None, "regional", None),
}
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500


class StsExchange:
    """Exchanges tokens at one STS endpoint, in a bounded pool of threads.

    ``timeout`` bounds connecting and each read, ``deadline`` the whole exchange as a request
    sees it; both in seconds. ``max_waiting`` exchanges may be under way or queued.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        timeout: float,
        deadline: float,
        workers: int,
        max_waiting: int,
        ca_file: str | None = None,
    ) -> None:
        self._deadline = deadline
        self._max_waiting = max_waiting
        self._waiting = 0
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="sts")
        # A fresh session, blind to profiles and credentials of the machine; addresses come
        # from our configuration alone, never from AWS_ENDPOINT_URL* or AWS_USE_*_ENDPOINT.
        self._client = botocore.session.Session(session_vars=_BLIND_TO_THE_MACHINE).create_client(
            "sts",
            region_name=region,
            endpoint_url=endpoint_url,
            verify=ca_file,
            config=Config(
                signature_version=UNSIGNED,
                connect_timeout=timeout,
                read_timeout=timeout,
                max_pool_connections=workers,
                retries={"mode": "standard", "total_max_attempts": 2},
                ignore_configured_endpoint_urls=True,
                use_fips_endpoint=False,
                use_dualstack_endpoint=False,
                user_agent_appid="extproc",
            ),
        )

    async def exchange(self, unverified_for_sts: str, grant: Grant) -> Credentials:
        """Exchange one token under one grant.

        Raises:
            Denied: with an STS reason; ``STS_UNAVAILABLE`` at once when the queue is full.
        """
        if self._waiting >= self._max_waiting:
            raise Denied(Reason.STS_UNAVAILABLE, "too many exchanges are waiting")
        self._waiting += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._assume, unverified_for_sts, grant
            )
            return await asyncio.wait_for(work, self._deadline)
        except TimeoutError:
            raise Denied(Reason.STS_UNAVAILABLE, f"no answer within {self._deadline} s") from None
        finally:
            self._waiting -= 1

    def _assume(self, token: str, grant: Grant) -> Credentials:
        try:
            answer = self._client.assume_role_with_web_identity(
                RoleArn=grant.role_arn,
                RoleSessionName=grant.session_name,
                WebIdentityToken=token,
                DurationSeconds=grant.duration,
            )
            return _credentials(answer["Credentials"])
        except ClientError as error:
            raise _denied(error) from None
        except (AwsConnectionError, HTTPClientError) as error:
            raise Denied(Reason.STS_UNAVAILABLE, type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - KeyError for HTML, ResponseParserError for empty errors
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer ({type(error).__name__})") from None

    def close(self) -> None:
        """Let running exchanges end; take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def _credentials(answer: dict[str, Any]) -> Credentials:
    return Credentials(
        access_key_id=answer["AccessKeyId"],
        secret_access_key=answer["SecretAccessKey"],
        session_token=answer["SessionToken"],
        expires_at=answer["Expiration"].timestamp(),
    )


def _denied(error: ClientError) -> Denied:
    """STS's errors as ours. Their messages are left out: some quote claims of the token."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reason = _REASONS.get(code)
    if reason is None:
        if status == _TOO_MANY_REQUESTS:
            reason = Reason.STS_THROTTLED
        elif status >= _SERVER_ERRORS or not code:
            reason = Reason.STS_UNAVAILABLE
        else:
            reason = Reason.STS_MISCONFIGURED
    return Denied(reason, f"STS answered {status} {code or 'without an error code'}")
