#!/usr/bin/env python3
"""Checks the example broker with clients of other projects: mosquitto, paho-mqtt, and mqtt.js in Node and in a headless
Chromium.

    python3 tests/interop/broker.py [SEED [CHECK]] [--against durable|mosquitto] [--part N/COUNT]

The seed decides where connections are cut. With `--part 1/3`, every third check is run, from the first on: the checks wait
more than they work, so that parts can run side by side. CHECK is a part of the name of a function in broker_bridge.py,
broker_mosquitto.py, broker_paho.py, broker_mqttjs.py or broker_slow.py: only such checks are run. With `--against
durable`, the example stores its state. With `--against mosquitto`, a real mosquitto takes the place of the example, which
shows that the checks require nothing but MQTT.
"""

import sys
import time

sys.dont_write_bytecode = True

import broker_bridge  # noqa: E402, F401
import broker_mosquitto  # noqa: E402, F401
import broker_mqttjs  # noqa: E402, F401
import broker_paho  # noqa: E402, F401
import broker_slow  # noqa: E402, F401
from broker_stage import CHECKS, Failure, Stage, Tools  # noqa: E402
from harness import parser  # noqa: E402


def run(tools, check, version, transport, seed):
    """Runs a check and returns whether it passed."""
    start = time.monotonic()
    label = f"{version:5}  {transport:7}  {check.text}"
    if tools.is_mosquitto and check.mosquitto:
        print(f"--  {label} (not asked: {check.mosquitto})", flush=True)
        return True
    try:
        stage = Stage(tools, version, transport, seed, check.options)
    except Failure as failure:
        raise SystemExit(failure) from None
    try:
        said = [check.function(stage) or "", *(f"not asked: {why}" for why in stage.spared)]
        stage.close_clients()
        stage.end()
    except Failure as failure:
        print(f"FAILED  {label}\n{failure}\n{stage.logs()}\nseed {seed}", flush=True)
        return False
    finally:
        stage.close()
    seconds = f"{time.monotonic() - start:.1f} s"
    print(f"ok  {label} ({'; '.join([seconds, *filter(None, said)])})", flush=True)
    return True


def main():
    options = parser(__doc__)
    options.add_argument("--against", choices=("example", "durable", "mosquitto"), default="example")
    arguments = options.parse_args()
    tools = Tools(arguments.against)
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    runs = [
        (check, version, transport)
        for check in CHECKS
        if arguments.check in check.function.__name__
        for version in check.versions
        for transport in check.transports
    ]
    runs = arguments.part.of(runs)
    try:
        for check, version, transport in runs:
            if not run(tools, check, version, transport, arguments.seed):
                return 1
    finally:
        tools.close()
    print(f"all is well ({len(runs)} checks, {time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
