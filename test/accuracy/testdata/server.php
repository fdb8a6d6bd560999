<?php
// SPDX-License-Identifier: Apache-2.0
// The script behind PHP's built-in server and behind PHP-FPM.
const TRAP = "HTTP/1.1 500 Trap\r\n\r\n";

function filler(int $n): string
{
    return substr(str_repeat(TRAP, intdiv($n, strlen(TRAP)) + 1), 0, $n);
}

$rest = explode('/', parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
$what = $rest[1];
header('Content-Type: text/plain');
if ($what === 'status') {
    http_response_code((int) $rest[2]);
} elseif ($what === 'echo') {
    $body = file_get_contents('php://input');
    header('Content-Length: ' . strlen($body));
    echo $body;
} elseif ($what === 'bytes') {
    header('Content-Length: ' . $rest[2]);
    echo filler((int) $rest[2]);
} elseif ($what === 'part') {
    header('Content-Length: ' . $rest[3]);
    echo filler((int) $rest[2]);
    flush();
    usleep(250_000);
} else { // stream, chunked
    file_get_contents('php://input');
    echo filler((int) $rest[2]);
}
