"""What a program without diag does: each file to the bucket by the SDK's own call, with its defaults."""

import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sdk, url, listed = sys.argv[1:]
parts = urlsplit(url)
said = {name: values[0] for name, values in parse_qs(parts.query).items()}
files = [line.split("\t") for line in Path(listed).read_text().splitlines()]

if sdk == "boto3":
    import boto3

    client = boto3.client("s3", endpoint_url=said["endpoint"], region_name=said["region"])
    for path, key in files:
        client.upload_file(path, parts.netloc, key)
else:
    import oss2
    from oss2.credentials import EnvironmentVariableCredentialsProvider

    auth = oss2.ProviderAuthV4(EnvironmentVariableCredentialsProvider())
    bucket = oss2.Bucket(auth, said["endpoint"], parts.netloc, region=said["region"])
    for path, key in files:
        if Path(path).stat().st_size < 1_000_000:
            bucket.put_object_from_file(key, path)
        else:
            oss2.resumable_upload(bucket, key, path)
