module microcomm/01-one

go 1.26
