"""What the engine uses of Ray, in this process; actors die when they are told to."""

import pickle
import types

import cloudpickle


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's: what a method raised."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """Stands for the module.

    Args:
      dies: called with the name of a method and its arguments; whether the actor dies of the call.

    Attributes:
      started: number of actors.
    """

    exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, dies=lambda name, arguments: False):
        self.dies, self.started, self.options, self.connected = dies, 0, {}, None

    def init(self, **options):
        if options.get("address") == "nowhere:1":
            raise ConnectionError("nobody answers\nat all")
        self.connected = options

    def shutdown(self):
        self.connected = None

    def cluster_resources(self):
        return {"CPU": 4.0}

    def remote(self, cls):
        return _Remote(self, cls)

    def kill(self, actor):
        actor.dead = True

    def wait(self, references, num_returns, timeout):
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        return reference()


def sent(values):
    """What arrives in another process."""
    return pickle.loads(cloudpickle.dumps(values))


class _Remote:
    def __init__(self, ray, cls):
        self._ray, self._cls = ray, cls

    def options(self, **options):
        self._ray.options = options
        return self

    def remote(self, *arguments):
        self._ray.started += 1
        return _Actor(self._ray, self._cls(*sent(arguments)))


class _Actor:
    def __init__(self, ray, instance):
        self.dead, self._ray, self._instance = False, ray, instance

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=lambda *arguments: lambda: self._call(name, arguments))

    def _call(self, name, arguments):
        self.dead = self.dead or self._ray.dies(name, arguments)
        if self.dead:
            raise RayError("the actor died")
        try:
            return sent(getattr(self._instance, name)(*sent(arguments)))
        except Exception as error:
            raise RayTaskError(error) from error
