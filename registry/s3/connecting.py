"""From settings to a bucket that answers: sessions, credentials, and what is wrong at start."""

from __future__ import annotations

import logging
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from registry.errors import RegistryStartError
from registry.s3.bucket import Bucket
from registry.s3.fetching import Fetcher
from registry.s3.settings import StorageSettings
from registry.s3.silence import give_up

_ATTEMPTS: Final = 6
_CONNECT_SECONDS: Final = 5
_CONNECTIONS: Final = 64
_DEFAULT_REGION: Final = "us-east-1"

_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, storage.credentials_file or storage.profile"
)
_FIXES: Final = {
    "NoSuchBucket": "create the bucket, or correct storage.bucket",
    "AccessDenied": "these credentials may not list the bucket: give them its rights",
    "InvalidAccessKeyId": "nobody has this access key: correct the credentials",
    "SignatureDoesNotMatch": "the secret key is another: correct the credentials",
    "RequestTimeTooSkewed": "set this machine's clock by NTP: requests are signed with the time",
    "PermanentRedirect": "the bucket is in another region: correct storage.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct storage.region",
}


def connect(settings: StorageSettings) -> Bucket:
    """The bucket of the settings, asked once whether it is there.

    Raises:
        RegistryStartError: it is not, it refuses, or nobody answers.
    """
    # Below these levels the SDK logs signed requests, and a line for each connection over the pool.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    where = f"{settings.endpoint or 's3'}/{settings.bucket}"
    try:
        bucket = _bucket(settings)
        bucket.probe()
    except NoCredentialsError as error:
        raise RegistryStartError(
            "there are no credentials for the object store", where=where, fix=_CREDENTIALS
        ) from error
    except ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code", ""))
        raise RegistryStartError(
            f"the object store refuses: {code} {details.get('Message', '')}".rstrip(),
            where=where,
            fix=_FIXES.get(code, "check storage.bucket and the credentials"),
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise RegistryStartError(
            f"the object store cannot be used: {error}",
            where=where,
            fix="check storage.endpoint, storage.region and storage.profile",
        ) from error
    return bucket


def _bucket(settings: StorageSettings) -> Bucket:
    session = botocore.session.Session(profile=settings.profile)
    if settings.credentials_file is not None:
        session.set_config_variable("credentials_file", str(settings.credentials_file))
    encryption: dict[str, str] = {}
    if settings.encryption is not None:
        encryption["ServerSideEncryption"] = settings.encryption.value
        if settings.kms_key is not None:
            encryption["SSEKMSKeyId"] = settings.kms_key
    public = settings.redirect_endpoint
    client = _client(session, settings, settings.endpoint)
    return Bucket(
        client,
        settings.bucket,
        prefix=settings.prefix,
        presigner=None if public is None else _client(session, settings, public),
        fetcher=Fetcher(client, settings.bucket),
        encryption=encryption,
        storage_class=settings.storage_class,
        copy_part_size=settings.copy_part_size,
        patience=settings.timeout,
    )


def _client(session: Any, settings: StorageSettings, endpoint: str | None) -> Any:
    checksums = "when_supported" if settings.checksums else "when_required"
    region = settings.region or session.get_config_variable("region")
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=min(_CONNECT_SECONDS, settings.timeout),
        read_timeout=settings.timeout,
        max_pool_connections=_CONNECTIONS,
        request_checksum_calculation=checksums,
        # Blobs are verified by their digests, and a range has no checksum.
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if settings.path_style else "auto"},
    )
    client = session.create_client(
        "s3", region_name=region or _DEFAULT_REGION, endpoint_url=endpoint, config=config
    )
    client.meta.events.register("needs-retry.s3", give_up)
    return client
