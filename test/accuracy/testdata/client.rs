// SPDX-License-Identifier: Apache-2.0
// A client on the standard library alone: client URL < requests
use std::io::{stdin, BufRead, BufReader, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

const TRAP: &str = "HTTP/1.1 500 Trap\r\n\r\n";

struct Conn {
    r: BufReader<TcpStream>,
    w: TcpStream,
}

fn connect(address: &str) -> Result<Conn> {
    let w = TcpStream::connect(address)?;
    w.set_nodelay(true)?;
    Ok(Conn { r: BufReader::new(w.try_clone()?), w })
}

fn line(r: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if r.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_string())
}

fn skip(r: &mut impl Read, n: u64) -> Result<()> {
    if std::io::copy(&mut r.take(n), &mut std::io::sink())? < n {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn respond(r: &mut BufReader<TcpStream>, method: &str) -> Result<()> {
    let status = line(r)?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = line(r)?.to_lowercase();
        let Some((name, value)) = line.split_once(':') else { break };
        match name {
            "content-length" => length = value.trim().parse().expect("a length"),
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    if method == "HEAD" || status.contains(" 204 ") || status.contains(" 304 ") {
        return Ok(());
    }
    while chunked {
        let n = u64::from_str_radix(&line(r)?, 16).expect("a size");
        skip(r, n + 2)?;
        if n == 0 {
            return Ok(());
        }
    }
    skip(r, length)
}

fn call(c: &mut Conn, method: &str, path: &str, size: usize, flag: &str) -> Result<()> {
    let body: Vec<u8> = if method == "POST" { TRAP.bytes().cycle().take(size).collect() } else { Vec::new() };
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: accuracy\r\n").into_bytes();
    match flag {
        "close" => out.extend(b"Connection: close\r\n"),
        "bighead" => out.extend(format!("Cookie: session={}\r\n", "c".repeat(3072)).bytes()),
        "chunked" => out.extend(b"Transfer-Encoding: chunked\r\n"),
        _ => {}
    }
    if method == "POST" && flag != "chunked" {
        out.extend(format!("Content-Length: {size}\r\n").bytes());
    }
    out.extend(b"\r\n");
    c.w.write_all(&out)?;
    if flag == "chunked" {
        for piece in body.chunks(1000) {
            c.w.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
            c.w.write_all(piece)?;
            c.w.write_all(b"\r\n")?;
        }
        c.w.write_all(b"0\r\n\r\n")?;
    } else {
        // Both directions at once: the server answers while it is still being sent to.
        let mut w = c.w.try_clone()?;
        let sending = std::thread::spawn(move || w.write_all(&body));
        let answer = respond(&mut c.r, method);
        sending.join().expect("no panic").and(answer)?;
        return Ok(());
    }
    respond(&mut c.r, method)
}

fn main() -> Result<()> {
    let url = std::env::args().nth(1).expect("usage: client URL");
    let address = url.trim_start_matches("http://");
    let mut conn = None;
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let flag = words.get(3).copied().unwrap_or("");
        let mut c = match conn.take() {
            Some(c) => c,
            None => connect(address)?,
        };
        let answer = call(&mut c, words[0], words[1], words[2].parse().expect("a size"), flag);
        match flag {
            "unanswered" => {}
            "close" => answer?,
            _ => {
                answer?;
                conn = Some(c);
            }
        }
    }
    Ok(())
}
