"""A stdio server that shows, byte for byte, what reached it, and answers with what no SDK would write.

Runs as a child process with any Python. Answers have members in an odd order, unknown members, blanks, escapes that
could be spelled otherwise, and numbers that a decoder would change; `line` is the request as it came, in base64.
"""

import base64
import json
import sys

ODD = (
    rb'"future":{"z":1.0,"a":1e5,"big":12345678901234567890,"tiny":1E-7, "minus":-0,"path":"a\/b","esc":"\u00e9\ud83c'
    rb'\udf0d",' + '"raw":"é🌍\u2028"'.encode() + rb',"null":null,"list":[ 1 ,2.50 ]}'
)


def main() -> None:
    out = sys.stdout.buffer
    for raw in sys.stdin.buffer:
        line = raw.rstrip(b"\n")
        message = json.loads(line)
        method, identifier = message.get("method"), json.dumps(message.get("id")).encode()
        seen = base64.b64encode(line)
        if method is None:  # an answer to our question: show it
            out.write(b'{"params":{"line":"%s"},"method":"notifications/mirrored","jsonrpc":"2.0"}\n' % seen)
        elif "id" not in message:
            out.write(b'{"method":"notifications/mirrored","jsonrpc":"2.0","params":{"line":"%s"}}\n' % seen)
        elif method == "initialize":
            version = json.dumps(message["params"]["protocolVersion"]).encode()
            out.write(
                b'{"result":{%s,"serverInfo":{"version":"1","name":"mirror","icons":[]},"capabilities":{"tools":{},'
                b'"future":{}},"protocolVersion":%s},"id":%s,"jsonrpc":"2.0"}\n' % (ODD, version, identifier)
            )
        else:
            if method == "future/ask":
                out.write(b'{ "id": "ask-%s", "x": 1.0, "method":"future/question", "jsonrpc":"2.0"}\n' % identifier)
            if method == "future/fail":
                error = b'"error":{"message":"no\\u0021","data":{"q":[1.0]},"code":-32050,"extra":{}}'
                out.write(b'{"jsonrpc":"2.0",%s,"id":%s,%s}\n' % (error, identifier, ODD))
            else:
                result = b'"result":{"line":"%s",%s}' % (seen, ODD)
                out.write(b'{%s,  "id":%s,"jsonrpc":"2.0","extra":[{"b":1,"a":2}]}\n' % (result, identifier))
        out.flush()


if __name__ == "__main__":
    main()
