"""TLS: a server with a certificate, and a client that checks it.  The context is ssl's own, and so are its errors.

    python encrypted.py [CERTIFICATE.pem]

The file holds a private key and a certificate for localhost; without one, the command openssl makes one.
"""

import asyncio
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path


def certificate(folder):
    path = Path(folder) / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost".split()
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


async def answer(reader, writer):
    try:
        writer.write(b"you said: " + await reader.readline())
        await writer.drain()
    except (ssl.SSLError, ConnectionError) as error:
        print("a client is gone:", type(error).__name__)
    writer.close()


async def ask(port, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    writer.write(b"hello\n")
    text = await reader.read()
    version = writer.get_extra_info("ssl_object").version()
    writer.close()
    await writer.wait_closed()
    return text, version


async def main(path):
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for_server.load_cert_chain(path)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=for_server) as server:
        port = server.sockets[0].getsockname()[1]
        text, version = await ask(port, ssl.create_default_context(cafile=path))
        assert text == b"you said: hello\n"
        assert version == "TLSv1.3"

        # Who does not trust the certificate does not talk to the server.
        try:
            await ask(port, ssl.create_default_context())
        except ssl.SSLCertVerificationError as error:
            print("refused:", error.verify_message)
        else:
            raise AssertionError("a stranger's certificate was accepted")


if len(sys.argv) > 1:
    asyncio.run(main(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(certificate(folder)))
