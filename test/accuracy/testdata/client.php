<?php
// SPDX-License-Identifier: Apache-2.0
// file_get_contents as everybody uses it: client.php URL [CERTIFICATE] < requests
const TRAP = "HTTP/1.1 500 Trap\r\n\r\n";

while (($line = fgets(STDIN)) !== false) {
    $words = explode(' ', trim($line));
    [$method, $path, $size] = $words;
    $flags = array_slice($words, 3);
    $http = ['method' => $method, 'protocol_version' => 1.1, 'ignore_errors' => true, 'header' => ['Connection: close']];
    if (in_array('bighead', $flags)) {
        $http['header'][] = 'Cookie: session=' . str_repeat('c', 3072);
    }
    if ($method === 'POST') {
        $http['header'][] = 'Content-Type: text/plain';
        $http['content'] = substr(str_repeat(TRAP, intdiv((int) $size, strlen(TRAP)) + 1), 0, (int) $size);
    }
    $context = stream_context_create(['http' => $http, 'ssl' => ['cafile' => $argv[2] ?? null]]);
    if (@file_get_contents($argv[1] . $path, false, $context) === false && !in_array('unanswered', $flags)) {
        fwrite(STDERR, error_get_last()['message'] . "\n");
        exit(1);
    }
}
