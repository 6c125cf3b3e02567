module microcomm/docs
