// SPDX-License-Identifier: Apache-2.0
// A server with a thread for each connection, on the standard library alone: server PORT
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const TRAP: &str = "HTTP/1.1 500 Trap\r\n\r\n";

fn filler(n: usize) -> Vec<u8> {
    TRAP.bytes().cycle().take(n).collect()
}

fn line(r: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    if r.read_until(b'\n', &mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_string())
}

fn bad<E>(_: E) -> Error {
    ErrorKind::InvalidData.into()
}

fn body(r: &mut BufReader<TcpStream>, header: &HashMap<String, String>) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    if header.get("transfer-encoding").map(String::as_str) != Some("chunked") {
        let n = header.get("content-length").map_or(Ok(0), |v| v.parse()).map_err(bad)?;
        data.resize(n, 0);
        r.read_exact(&mut data)?;
        return Ok(data);
    }
    loop {
        let n = usize::from_str_radix(&line(r)?, 16).map_err(bad)?;
        if n == 0 {
            break;
        }
        let at = data.len();
        data.resize(at + n, 0);
        r.read_exact(&mut data[at..])?;
        line(r)?;
    }
    while !line(r)?.is_empty() {}
    Ok(data)
}

fn chunks(body: &[u8], trailer: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(512) {
        out.extend(format!("{:x}\r\n", piece.len()).bytes());
        out.extend(piece);
        out.extend(b"\r\n");
    }
    out.extend(format!("0\r\n{trailer}\r\n").bytes());
    out
}

/// Answers a request; false ends the connection.
fn one(r: &mut BufReader<TcpStream>, w: &mut TcpStream) -> Result<bool> {
    let first = line(r)?;
    let words: Vec<&str> = first.split(' ').collect();
    if words.len() != 3 || !words[2].starts_with("HTTP/1.") {
        return Ok(false);
    }
    let mut header = HashMap::new();
    loop {
        let line = line(r)?;
        let Some((name, value)) = line.split_once(':') else { break };
        header.insert(name.to_lowercase(), value.trim().to_string());
    }
    if header.contains_key("expect") {
        w.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let sent = body(r, &header)?;
    let path: Vec<&str> = words[1].split('/').collect();
    let number = |i: usize| path[i].parse::<usize>().map_err(bad);
    match path[1] {
        "bytes" | "early" | "echo" => {
            if path[1] == "early" {
                w.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")?;
            }
            let body = if path[1] == "echo" { sent } else { filler(number(2)?) };
            let mut out = format!("HTTP/1.1 200 OK\r\nServer: rust\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
            if words[0] != "HEAD" {
                out.extend(body);
            }
            w.write_all(&out)?;
        }
        "stream" => {
            w.write_all(b"HTTP/1.1 200 OK\r\nServer: rust\r\nConnection: close\r\n\r\n")?;
            w.write_all(&filler(number(2)?))?;
            return Ok(false);
        }
        "chunked" | "trailers" => {
            let trailer = if path[1] == "trailers" { "X-Sum: 1\r\n" } else { "" };
            w.write_all(b"HTTP/1.1 200 OK\r\nServer: rust\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            w.write_all(&chunks(&filler(number(2)?), trailer))?;
        }
        "status" => w.write_all(format!("HTTP/1.1 {} Empty\r\nServer: rust\r\n\r\n", path[2]).as_bytes())?,
        "part" => {
            w.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path[3]).as_bytes())?;
            w.write_all(&filler(number(2)?))?;
            r.read_exact(&mut [0])?;
            return Ok(false);
        }
        "upgrade" => {
            w.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            std::io::copy(r, w)?;
            return Ok(false);
        }
        _ => return Ok(false), // drop
    }
    Ok(header.get("connection").map(String::as_str) != Some("close"))
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).expect("usage: server PORT");
    for stream in TcpListener::bind(format!("127.0.0.1:{port}"))?.incoming() {
        let mut w = stream?;
        w.set_nodelay(true)?;
        let mut r = BufReader::new(w.try_clone()?);
        // An error is a client that broke off or speaks something else: part of the test.
        std::thread::spawn(move || while let Ok(true) = one(&mut r, &mut w) {});
    }
    Ok(())
}
