"""Never reads its stdin. Says that it is ready first."""

import os
import time

os.write(1, b'{"jsonrpc":"2.0","method":"notifications/ready"}\n')
while True:
    time.sleep(60)
