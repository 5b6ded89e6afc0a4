//! TLS by hand: requests with a certificate of one's choice, and servers that show what they should not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parcelry::identity::Identity;
use parcelry::tls;
use parcelry_core::id::Secret;
use rustls::{ClientConnection, StreamOwned};

use super::http::Answer;

/// An identity that no server of the test has, the same for the same number.
pub fn identity(number: u8) -> Identity {
    Identity::from_seed(Secret::from_bytes([number; 32]))
}

/// Sends the bytes over TLS to the server whose key has this fingerprint, and reads to the end.
pub fn exchange(
    address: &str,
    pin: &[u8; 32],
    identity: Option<&Identity>,
    request: &[u8],
) -> io::Result<Vec<u8>> {
    exchange_over(TcpStream::connect(address)?, pin, identity, request)
}

/// A connection from one address of this machine to a server on it.
pub fn connect_from(source: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &address.parse::<SocketAddrV4>().unwrap())?;
    Ok(socket.into())
}

/// An [`exchange`] over a connection that is there.
pub fn exchange_over(
    socket: TcpStream,
    pin: &[u8; 32],
    identity: Option<&Identity>,
    request: &[u8],
) -> io::Result<Vec<u8>> {
    let config = Arc::new(tls::pinning_client_config(identity).unwrap());
    let connection = ClientConnection::new(config, tls::pinned_name(pin)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(request)?;
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(response),
    }
}

/// Does what [`super::http::send`] does, over TLS and with a certificate.
pub fn send(
    address: &str,
    pin: &[u8; 32],
    identity: Option<&Identity>,
    (method, path): (&str, &str),
    headers: &str,
    body: &[u8],
) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    Answer::parse(&exchange(address, pin, identity, &[head.as_bytes(), body].concat()).unwrap())
}
