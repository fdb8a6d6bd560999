module client

go 1.17
