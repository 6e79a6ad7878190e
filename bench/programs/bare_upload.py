"""What a program without diag does: each file to the bucket by the SDK's own call, so many at a time."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sdk, url, listed, at_once = sys.argv[1:]
parts = urlsplit(url)
said = {name: values[0] for name, values in parse_qs(parts.query).items()}
files = [line.split("\t") for line in Path(listed).read_text().splitlines()]

if sdk == "boto3":
    import boto3

    client = boto3.client("s3", endpoint_url=said["endpoint"], region_name=said["region"])

    def send(file: list[str]) -> None:
        """One file, in parts and in threads where it is large."""
        client.upload_file(file[0], parts.netloc, file[1])

else:
    import oss2
    from oss2.credentials import EnvironmentVariableCredentialsProvider

    auth = oss2.ProviderAuthV4(EnvironmentVariableCredentialsProvider())
    bucket = oss2.Bucket(auth, said["endpoint"], parts.netloc, region=said["region"])

    def send(file: list[str]) -> None:
        """One file, in parts where it is large."""
        if Path(file[0]).stat().st_size < 1_000_000:
            bucket.put_object_from_file(file[1], file[0])
        else:
            oss2.resumable_upload(bucket, file[1], file[0])


if at_once == "1":
    for file in files:
        send(file)
else:
    with ThreadPoolExecutor(int(at_once)) as pool:
        list(pool.map(send, files))
