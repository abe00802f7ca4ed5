#!/usr/bin/env python3
"""Checks the example broker with clients of other projects: mosquitto, paho-mqtt, and mqtt.js in Node and in a headless
Chromium.

    python3 tests/interop/broker.py [SEED [CHECK]] [--against durable|mosquitto]

The seed decides where connections are cut. CHECK is a part of the name of a function in broker_bridge.py,
broker_mosquitto.py, broker_paho.py, broker_mqttjs.py or broker_slow.py: only such checks are run. With `--against
durable`, the example stores its state. With `--against mosquitto`, a real mosquitto takes the place of the example, which
shows that the checks require nothing but MQTT.
"""

import argparse
import random
import sys
import time

sys.dont_write_bytecode = True

import broker_bridge  # noqa: E402, F401
import broker_mosquitto  # noqa: E402, F401
import broker_mqttjs  # noqa: E402, F401
import broker_paho  # noqa: E402, F401
import broker_slow  # noqa: E402, F401
from broker_stage import CHECKS, Failure, Stage, Tools  # noqa: E402


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
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("seed", nargs="?", type=int, default=random.randrange(1 << 32))
    parser.add_argument("check", nargs="?", default="")
    parser.add_argument("--against", choices=("example", "durable", "mosquitto"), default="example")
    arguments = parser.parse_args()
    tools = Tools(arguments.against)
    print(f"seed {arguments.seed}", flush=True)
    began, count = time.monotonic(), 0
    try:
        for check in CHECKS:
            if arguments.check not in check.function.__name__:
                continue
            for version in check.versions:
                for transport in check.transports:
                    if not run(tools, check, version, transport, arguments.seed):
                        return 1
                    count += 1
    finally:
        tools.close()
    print(f"all is well ({count} checks, {time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
