"""AWS STS: the user's own token for temporary credentials, by AssumeRoleWithWebIdentity.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html

The call is not signed; the token is the proof. An optional second hop (AssumeRole with the
credentials of the first) leads into another account. The only module that touches botocore.
Everything here blocks; ``exchange`` runs it in threads.
"""

import os
from collections.abc import Callable
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from extproc.credentials import sts_errors
from extproc.errors import Denied, Reason
from extproc.values import MAX_CHAINED_DURATION, ChainedRole, Credentials, Grant

# In botocore's form: key in the configuration file, environment variable, default, conversion.
_BLIND_TO_THE_MACHINE = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "sts_regional_endpoints": (None, None, "regional", None),
}


class StsClient:
    """Talks to one STS endpoint. ``timeout``: seconds for connecting, and for each read.

    ``on_date`` is told the ``Date`` of every answer, from the calling thread.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        timeout: float,
        connections: int,
        on_date: Callable[[str | None], None],
        ca_file: str | None = None,
    ) -> None:
        # A fresh session, blind to profiles and credentials of the machine; addresses come
        # from our configuration alone, never from AWS_ENDPOINT_URL* or AWS_USE_*_ENDPOINT.
        self._session = botocore.session.Session(session_vars=_BLIND_TO_THE_MACHINE)
        self._on_date = on_date
        self._options: dict[str, Any] = {
            "region_name": region,
            "endpoint_url": endpoint_url,
            "verify": ca_file,
        }
        self._settings: dict[str, Any] = {
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"mode": "standard", "total_max_attempts": 2},
            "ignore_configured_endpoint_urls": True,
            "use_fips_endpoint": False,
            "use_dualstack_endpoint": False,
            "user_agent_appid": "extproc",
        }
        config = Config(signature_version=UNSIGNED, max_pool_connections=connections, **self._settings)
        self._client = self._session.create_client("sts", config=config, **self._options)

    def assume(self, unverified_for_sts: str, grant: Grant) -> Credentials:
        """Exchange a token under a grant, over both hops if it has two.

        Raises:
            Denied: with an STS reason, and a detail that never quotes STS's message.
        """
        credentials = self._call(
            self._client.assume_role_with_web_identity,
            RoleArn=grant.role_arn,
            RoleSessionName=grant.session_name,
            WebIdentityToken=unverified_for_sts,
            DurationSeconds=grant.duration,
            **_session_policy(grant.policy_arns, grant.policy),
        )
        return credentials if grant.chain is None else self._chained(credentials, grant, grant.chain)

    def _chained(self, first: Credentials, grant: Grant, chain: ChainedRole) -> Credentials:
        # Source identity and transitive tags come along by themselves; they cannot be changed here.
        client = self._session.create_client(
            "sts",
            aws_access_key_id=first.access_key_id,
            aws_secret_access_key=first.secret_access_key,
            aws_session_token=first.session_token,
            config=Config(max_pool_connections=1, **self._settings),
            **self._options,
        )
        try:
            return self._call(
                client.assume_role,
                RoleArn=chain.role_arn,
                RoleSessionName=grant.session_name,
                DurationSeconds=min(grant.duration, MAX_CHAINED_DURATION),
                **({"ExternalId": chain.external_id} if chain.external_id else {}),
                **_session_policy(chain.policy_arns, chain.policy),
            )
        finally:
            client.close()

    def _call(self, operation: Callable[..., dict[str, Any]], **parameters: Any) -> Credentials:
        try:
            answer = operation(**parameters)
            self._on_date(_date(answer))
            return _credentials(answer["Credentials"])
        except ClientError as error:
            self._on_date(_date(error.response))
            raise sts_errors.denied(error.response) from None
        except (AwsConnectionError, HTTPClientError) as error:
            raise Denied(Reason.STS_UNAVAILABLE, type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - KeyError for HTML, ResponseParserError for empty errors
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer ({type(error).__name__})") from None

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def _session_policy(policy_arns: tuple[str, ...], policy: str | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if policy_arns:
        parameters["PolicyArns"] = [{"arn": arn} for arn in policy_arns]
    if policy is not None:
        parameters["Policy"] = policy
    return parameters


def _credentials(answer: dict[str, Any]) -> Credentials:
    return Credentials(
        access_key_id=answer["AccessKeyId"],
        secret_access_key=answer["SecretAccessKey"],
        session_token=answer["SessionToken"],
        expires_at=answer["Expiration"].timestamp(),
    )


def _date(answer: dict[str, Any]) -> str | None:
    headers: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("date")
