"""A network between a client and a server that counts requests, breaks, and loses answers: real sockets."""

import socket
import threading
import time


class FlakyNetwork:
    """Listens on loopback and passes everything on to a server, as long as it is whole.

    Attributes:
        port: where it listens.
        broken: whether connections are refused service; those that are open go when they next say something.
        losing: what a request must hold for its answer to get lost, as `b"PUT /bucket/x"`; None loses none.
        lost: how many answers have been lost.
        delay: seconds by which every request comes later.
        requests: how many requests have passed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.broken, self.losing, self.lost, self.requests, self.delay = False, None, 0, 0, 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.broken = True
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass one connection on, in both directions; the client speaks HTTP/1.1, one request after another."""
        with client, socket.create_connection(self._server) as server:
            forgetting = threading.Event()
            back = threading.Thread(target=self._answer, args=(server, client, forgetting), daemon=True)
            back.start()
            while (data := _receive(client)) and not self.broken:
                self.requests += data.count(b" HTTP/1.1\r\n")
                if self.losing is not None and self.losing in data:
                    forgetting.set()
                time.sleep(self.delay)
                server.sendall(data)
            for end in (client, server):
                _hang_up(end)
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket, forgetting: threading.Event) -> None:
        while data := _receive(server):
            if forgetting.is_set() or self.broken:
                self.lost += forgetting.is_set()
                break
            client.sendall(data)
        _hang_up(client)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
